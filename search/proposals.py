"""What a study tries next."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.baselines import BASELINES, baseline_learning
from search.checkpoints import returning
from search.context import StudyContext
from search.ending import n_trained
from search.granularity import GRANULARITY, first_of_stage, stage_of
from search.lineage import RESUMES
from search.retries import retry_attributes
from search.samplers import make_sampler
from search.side_prior import LAYER_SIGNAL, SIDE_PROBE, begin_at_signal, side_probe
from search.starting_points import STARTING_POINT, starting_trials
from search.trial import Planned
from space.replay import params_for
from space.search_space import SearchSpace
from space.side import SIDE
from trainers.fit import Tick

MAX_KNOWN = 5
"""Known proposals in a row, after which structures are drawn at random until one is new. A sampler
can stay for ever at what it found best in a space that is small and holds no learning rates."""


def next_trial(
    context: StudyContext, stored: optuna.Study, tick: Tick
) -> tuple[optuna.Trial, Planned | None] | None:
    """Ask for the next trial: one in line, else a missing baseline or starting point, else a
    stopped one that has come back, else what is sampled.

    Some of it may have to be trained for (`sampler_prior`): `tick` is told each step of that. None
    where that has to wait until no trial is running.
    """
    trials = stored.get_trials(deepcopy=False)
    stage = stage_of(context.space, n_trained(trials), context.study.budget.trials)
    space = context.space if stage is None else context.space.at(stage)
    stored.sampler = make_sampler(_sampler(context, trials), context.study.seed, len(trials))
    if any(trial.state == TrialState.WAITING for trial in trials):
        return _ask(stored, stage), None
    for name in context.study.baselines:
        if not _begun("baseline", name, trials):
            spec = BASELINES[name].build(context.backbone.shape, context.space)
            planned = Planned(spec=spec, learning=baseline_learning(spec, context.space))
            return _ask_for_baseline(context, stored, name, planned, space, stage)
    if context.study.sampler_prior == SIDE:
        if not _begun("baseline", SIDE_PROBE, trials):
            probe = side_probe(context)
            return _ask_for_baseline(context, stored, SIDE_PROBE, probe, space, stage)
        if LAYER_SIGNAL not in stored.user_attrs:
            if any(trial.state == TrialState.RUNNING for trial in trials):
                return None
            begin_at_signal(context, stored, space, tick)
            return next_trial(context, stored, tick)
    for name in context.study.starting_points:
        starts = starting_trials(name, space, context.study.budget.trials)
        for title, params in starts.items():
            if not _begun(STARTING_POINT, title, trials):
                stored.enqueue_trial(params, user_attrs={STARTING_POINT: title})
                return _ask(stored, stage), None
    stopped = returning(context, trials)
    if stopped is not None:
        of_stopped = (STARTING_POINT, GRANULARITY)
        kept = {k: v for k, v in stopped.user_attrs.items() if k in of_stopped}
        stored.enqueue_trial(stopped.params, user_attrs={**kept, RESUMES: stopped.number})
    elif stage is not None:
        for params in first_of_stage(context.space, stage, trials, stored.directions):
            stored.enqueue_trial(params, user_attrs={GRANULARITY: stage})
    return _ask(stored, stage), None


def _sampler(context: StudyContext, trials: Sequence[FrozenTrial]) -> str:
    """Return who proposes: the study's sampler, or chance where that has nothing new any more."""
    ended = [
        t for t in trials if t.state.is_finished() and t.user_attrs.get("end") != "interrupted"
    ]
    latest = ended[-MAX_KNOWN:]
    stays = len(latest) == MAX_KNOWN and all("same_as" in trial.user_attrs for trial in latest)
    return "random" if stays else context.study.sampler


def _ask(stored: optuna.Study, stage: str | None) -> optuna.Trial:
    """Ask for a trial, and note how finely its ranks are sampled."""
    trial = stored.ask()
    if stage is not None and GRANULARITY not in trial.user_attrs:
        trial.set_user_attr(GRANULARITY, stage)
    return trial


def _ask_for_baseline(
    context: StudyContext,
    stored: optuna.Study,
    name: str,
    planned: Planned,
    space: SearchSpace,
    stage: str | None,
) -> tuple[optuna.Trial, Planned | None]:
    attributes: dict[str, Any] = {"baseline": name}
    trials = stored.get_trials(deepcopy=False)
    for cut_off in trials:
        if cut_off.user_attrs.get("baseline") == name:
            attributes |= retry_attributes(context, trials, cut_off)
    params = params_for(space, planned.spec, planned.learning)
    if params is not None:
        # Inside the space: with its parameters known, the sampler learns from it too.
        stored.enqueue_trial(params, user_attrs=attributes)
        return _ask(stored, stage), None
    trial = stored.ask()
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    return trial, planned


def _begun(mark: str, name: str, trials: Sequence[FrozenTrial]) -> bool:
    return any(
        trial.user_attrs.get(mark) == name and trial.user_attrs.get("end") != "interrupted"
        for trial in trials
    )
