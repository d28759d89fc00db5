"""The main road: how one trial goes, from a sampled structure to its end in the storage.

`begin` and `end` run where the study is decided on: they alone write to its storage. `work` runs
in a worker, which may be this process or one on another machine; between them goes plain data.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import optuna

from search.checkpoints import begins_from, checkpoint_of
from search.context import StudyContext
from search.ending import End, finish, note_structure, twin_of
from search.exits import leave_early
from search.granularity import space_of
from search.job import Failure, Job, Outcome
from search.memory_limit import OUT_OF_MEMORY, too_large
from search.objectives import known_costs
from search.training import train_structure
from space.errors import OutOfMemory, TrialError
from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.fit import Report, Tick
from trainers.latency import measure_latency
from trainers.memory import release_memory, want_of_memory_told
from trainers.weights import save_weights

MUCH_MIB = 16
"""A trial whose trained weights take more gives them back at once: with their gradients and the
optimizer's two averages they are four times as much. To do so takes half a second."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A structure that is given, not sampled: a baseline outside the search space."""

    spec: AdapterSpec
    learning: Learning


def begin(context: StudyContext, trial: optuna.Trial, planned: Planned | None) -> Job | End:
    """Sample, note and cost one trial; return what is to be trained, or how it ended without."""
    began_s = time.monotonic()
    spec, learning = _structure(context, trial, planned)
    note_structure(trial, spec, learning)
    costs = known_costs(spec, context.cost)
    broken = _broken_bounds(context, trial, _certain(spec, costs)) or too_large(context, trial)
    if broken:
        return finish(context, trial, End(kind="infeasible", reason=broken, metrics=costs))
    twin = twin_of(trial)
    if twin is not None:
        return finish(context, trial, End.same_as(twin))
    return Job(
        number=trial.number,
        spec=spec,
        learning=learning,
        costs=costs,
        rungs=context.study.stopping.rungs(context.study.budget.epochs),
        resume=begins_from(context, trial),
        checkpoint=checkpoint_of(context, trial.number),
        began_s=began_s,
    )


def work(context: StudyContext, job: Job, report: Report, tick: Tick) -> Outcome | Failure:
    """Build, train, measure and keep one structure; at each rung `report` says whether to go on."""
    try:
        with want_of_memory_told():
            result: Outcome | Failure = _outcome(context, job, report, tick)
    except TrialError as error:
        result = Failure(reason=str(error), out_of_memory=isinstance(error, OutOfMemory))
    # An error, and what it held of the training, is gone by now.
    if isinstance(result, Failure) or job.costs["adapter_mib"] > MUCH_MIB:
        release_memory()
    return result


def _outcome(context: StudyContext, job: Job, report: Report, tick: Tick) -> Outcome:
    model, result = train_structure(
        context,
        job.spec,
        job.learning,
        report=report,
        tick=tick,
        rungs=job.rungs,
        resume=job.resume,
        checkpoint=job.checkpoint,
    )
    metrics = {**job.costs, **result.metrics}
    kept = {"routing": [dict(adapter) for adapter in result.routing]} if result.routing else {}
    if not result.stopped:
        left = leave_early(context, job.spec, result)
        shares = None if left is None else left.point.shares
        if left is not None:
            metrics |= {**left.point.metrics, "inference_gflops": left.point.mean_gflops}
            kept |= left.attributes()
        tokens = round(context.tokens.mean)
        metrics |= measure_latency(model, context.backbone, tokens, exit_shares=shares)
        save_weights(model, context.weights_folder, job.number)
    return Outcome(metrics=metrics, history=result.history, stopped=result.stopped, attributes=kept)


def end(context: StudyContext, trial: optuna.Trial, job: Job, outcome: Outcome | Failure) -> End:
    """Keep what a worker found and tell Optuna; return how the trial ended."""
    how = _how_it_ended(context, trial, job, outcome)
    return finish(context, trial, replace(how, took_s=time.monotonic() - job.began_s))


def _how_it_ended(
    context: StudyContext, trial: optuna.Trial, job: Job, outcome: Outcome | Failure
) -> End:
    if isinstance(outcome, Failure):
        if outcome.out_of_memory:
            trial.set_user_attr(OUT_OF_MEMORY, True)
        return End(kind="failed", reason=outcome.reason, metrics=job.costs)
    for name, value in outcome.attributes.items():
        trial.set_user_attr(name, value)
    metrics, history = outcome.metrics, outcome.history
    if outcome.stopped:
        return End.pruned(trial, metrics, history)
    broken = _broken_bounds(context, trial, metrics)
    kind = "infeasible" if broken else "complete"
    return End(kind=kind, reason=broken, metrics=metrics, history=history)


def _structure(
    context: StudyContext, trial: optuna.Trial, planned: Planned | None
) -> tuple[AdapterSpec, Learning]:
    if planned is not None:
        return planned.spec, planned.learning
    return space_of(context.space, trial).sample(trial)


def _certain(spec: AdapterSpec, costs: Mapping[str, float]) -> Mapping[str, float]:
    """Return the costs that hold whatever the training gives: exits may lower the mean cost."""
    return {k: v for k, v in costs.items() if k != "inference_gflops" or not spec.exits}


def _broken_bounds(context: StudyContext, trial: optuna.Trial, metrics: Mapping[str, float]) -> str:
    """Tell Optuna of every bound on a metric that is known by now; return those broken."""
    broken = []
    for bound in context.study.bounds:
        name = bound.describe()
        if bound.metric not in metrics or name in trial.constraints:
            continue
        trial.set_constraint(name, bound.violation(metrics[bound.metric]))
        if trial.constraints[name] > 0:
            broken.append(f"{name} is broken: it is {metrics[bound.metric]:.4g}")
    return "; ".join(broken)
