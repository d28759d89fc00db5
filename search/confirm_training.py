"""One training of `confirm`: on all training rows, scored once on the sealed test split."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch

from search.confirm_points import Point
from search.confirmed import ConfirmedRun
from search.context import StudyContext
from search.exits import EXIT_THRESHOLD, row_gflops
from search.objectives import known_costs
from search.plain_twin import plain_twin
from search.references import FULL, TFIDF
from search.study_file import StudySpec
from search.training import train_structure
from space.cost import BYTES_PER_PARAM, MIB
from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.backbone import Backbone
from trainers.data import StudyDataModule, encode
from trainers.data.sealed import TestData, all_training_rows, load_test
from trainers.fit import FitResult, Tick, fit
from trainers.full import build_full, full_learning, own_copy
from trainers.latency import measure_latency
from trainers.memory import want_of_memory_told
from trainers.model import AdaptedModel
from trainers.scoring import Scores, score
from trainers.tfidf import train_tfidf

THROUGHPUT_ROWS = 32
THROUGHPUT_TURNS = 5
_RUN_METRICS = ("train_s", "peak_memory_mib")


@dataclass(frozen=True, kw_only=True, eq=False)
class Confirmation:
    """What all trainings share."""

    context: StudyContext
    """Its training rows are those of the study and its validation rows; its validation rows are the
    test split. Costs are those of the study."""
    test: TestData
    """The sealed rows themselves."""
    full_rate: float | None = None
    """At which full fine-tuning trains, once that is chosen."""


def open_sealed(context: StudyContext) -> Confirmation:
    """Read the test split of a study.

    Raises:
        UserError: it cannot be read.
    """
    study, data = context.study, context.data
    test = load_test(
        context.task,
        data,
        source=study.data.source,
        train=_path(study.data.train),
        validation=_path(study.data.validation),
        test=_path(study.data.test),
        test_share=study.data.test_share,
        columns=study.columns,
        validation_share=study.data.validation_share,
        seed=study.seed,
        image=context.backbone.image,
    )
    rows = all_training_rows(data)
    length = study.data.max_length
    return Confirmation(
        context=replace(
            context,
            train=encode(rows, context.task, context.backbone, length),
            validation=encode(test.split, context.task, context.backbone, length),
        ),
        test=test,
    )


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def train_point(shared: Confirmation, point: Point, seed: int, tick: Tick) -> ConfirmedRun:
    """Train a point on one seed and score it.

    Raises:
        TrialError: a loss that is not finite, or no memory left.
    """
    trainings: dict[str, Callable[..., ConfirmedRun]] = {FULL: _full, TFIDF: _tfidf}
    training = trainings.get(point.key, _trial)
    with want_of_memory_told():
        return training(_seeded(shared, seed), point, tick)


def _seeded(shared: Confirmation, seed: int) -> Confirmation:
    study: StudySpec = shared.context.study.model_copy(update={"seed": seed})
    return replace(shared, context=replace(shared.context, study=study))


def _never_stop(_report: object) -> bool:
    return True


def _trial(shared: Confirmation, point: Point, tick: Tick) -> ConfirmedRun:
    trial = point.trial or point.plain_of
    assert trial is not None
    context, attributes = shared.context, trial.user_attrs
    spec = AdapterSpec.from_json(attributes["spec"])
    if point.plain_of is not None:
        spec = plain_twin(spec, context.backbone.shape)
    learning = Learning(**attributes["learning"])
    model, result = train_structure(
        context, spec, learning, report=_never_stop, tick=tick, validating=False
    )
    scores = _scores(context, model, spec, attributes.get(EXIT_THRESHOLD))
    costs = known_costs(spec, context.cost)
    shares = None
    if scores.exits is not None:
        shares, costs["inference_gflops"] = _left(context, spec, scores)
    metrics = costs | _measured(context, model, context.backbone, shares)
    return _run(context, point, scores, metrics, result)


def _scores(
    context: StudyContext, model: AdaptedModel, spec: AdapterSpec, exit_threshold: float | None
) -> Scores:
    return score(
        model,
        context.recalled(context.validation, spec),
        context.task,
        labels=context.data.labels,
        scale=context.data.scale,
        engine=context.engine_of(spec),
        batch_size=context.validation_factor * context.study.training.batch_size,
        exit_threshold=exit_threshold,
    )


def _left(
    context: StudyContext, spec: AdapterSpec, scores: Scores
) -> tuple[tuple[float, ...], float]:
    """Return the shares of test rows that left at each exit, and what a row costs in the mean."""
    costs = row_gflops(context, spec)  # in the order of batches
    order = numpy.argsort(context.validation.lengths, kind="stable")
    assert scores.exits is not None
    taken = torch.from_numpy(scores.exits[order])
    counts = torch.bincount(taken, minlength=len(spec.exits) + 1)
    mean = costs[torch.arange(len(taken)), taken].mean().item()
    return tuple((counts / len(taken)).tolist()), mean


def _full(shared: Confirmation, point: Point, tick: Tick) -> ConfirmedRun:
    """Train every weight of a copy of the backbone; nothing of it is known beforehand."""
    context, rate = shared.context, shared.full_rate
    assert rate is not None, "it was chosen before"
    own, model, result = _train_full(context, rate, tick, validating=False)
    scores = score(
        model,
        context.validation,
        context.task,
        labels=context.data.labels,
        scale=context.data.scale,
        engine=context.engine,
        batch_size=context.validation_factor * context.study.training.batch_size,
    )
    metrics = _full_costs(context, model) | _measured(context, model, own, None)
    return _run(context, point, scores, metrics | {"learning_rate": rate}, result)


def score_full_rate(context: StudyContext, rate: float, metric: str, tick: Tick) -> float:
    """Return what full fine-tuning at a rate gives on the validation rows, as trials are judged.

    Args:
        context: the study, as its trials have it.
        rate: of all weights but the head's.
        metric: of the task.
        tick: is told each step.

    Raises:
        TrialError: a loss that is not finite, or no memory left.
    """
    _, _, result = _train_full(context, rate, tick, validating=True)
    return result.metrics[metric]


def _train_full(
    context: StudyContext, rate: float, tick: Tick, *, validating: bool
) -> tuple[Backbone, AdaptedModel, FitResult]:
    own = own_copy(context.backbone, context.engine)
    model = build_full(
        own,
        context.n_outputs,
        context.study.seed,
        pooling=context.space.pooling[0],
        head=context.task.head,
    )
    data = StudyDataModule(
        train=context.train,
        validation=context.validation,
        batch_size=context.study.training.batch_size,
        validation_factor=context.validation_factor,
        seed=context.study.seed,
    )
    result = fit(
        model,
        data,
        context.task,
        full_learning(rate),
        labels=context.data.labels,
        scale=context.data.scale,
        epochs=context.study.budget.epochs,
        report=_never_stop,
        tick=tick,
        engine=context.engine,
        validating=validating,
    )
    return own, model, result


def _full_costs(context: StudyContext, model: AdaptedModel) -> dict[str, float]:
    """Return the costs of a training that goes through every matrix three times: once forward,
    and backward for its inputs and for its own weights."""
    n_params = sum(parameter.numel() for parameter in model.trained_parameters())
    inference = context.cost.inference_gflops(model.spec)
    return {
        "inference_gflops": inference,
        "training_gflops": 3 * inference,
        "trainable_params": float(n_params),
        "adapter_mib": n_params * BYTES_PER_PARAM / MIB,
    }


def _tfidf(shared: Confirmation, point: Point, tick: Tick) -> ConfirmedRun:
    context = shared.context
    train = all_training_rows(context.data)
    scores = train_tfidf(train, shared.test.split, context.task, context.data.labels)
    return ConfirmedRun(
        key=point.key, seed=context.study.seed, metrics=scores.metrics, outcomes=scores.outcomes
    )


def _measured(
    context: StudyContext,
    model: AdaptedModel,
    backbone: Backbone,
    exit_shares: tuple[float, ...] | None,
) -> dict[str, float]:
    """Return latency of one row, and rows a second in batches."""
    n_tokens = round(context.tokens.mean)
    one = measure_latency(model, backbone, n_tokens, exit_shares=exit_shares)
    many = measure_latency(
        model,
        backbone,
        n_tokens,
        exit_shares=exit_shares,
        n_rows=THROUGHPUT_ROWS,
        n_turns=THROUGHPUT_TURNS,
    )
    return {**one, "throughput": 1e3 * THROUGHPUT_ROWS / many["latency_ms"]}


def _run(
    context: StudyContext,
    point: Point,
    scores: Scores,
    metrics: dict[str, float],
    result: FitResult,
) -> ConfirmedRun:
    spent = {name: result.metrics[name] for name in _RUN_METRICS}
    return ConfirmedRun(
        key=point.key,
        seed=context.study.seed,
        metrics=scores.metrics | metrics | spent,
        outcomes=scores.outcomes,
    )
