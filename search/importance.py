"""How much each sampled parameter decides each objective: PED-ANOVA, as Optuna computes it.

PED-ANOVA (Watanabe et al. 2023; for parameters that exist in some structures only: 2026) compares
where the best trials lie along a parameter with where all trials lie.
"""

import copy
import warnings
from collections.abc import Sequence
from itertools import count

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.history import WindowedStudy
from search.objectives import METRICS

MIN_TRIALS = 8
"""Sampled trials below which nothing is said."""
_MIN_BEST, _BEST_SHARE = 5, 0.1
_OF_TRAINING = ("learning_rate",)
"""What has no say in an objective that follows from the structure alone."""


def importances(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return for each objective the share of each sampled parameter in what decides it.

    Shares of an objective add up to 1; all are 0 where all trials are equal in it.

    Args:
        trials: trained ones with their values; those without parameters are passed by.
        directions: of the objectives.
        names: of the objectives.
    """
    trials = sampled(trials)
    params = sorted({name for trial in trials for name in trial.params})
    found = {}
    for index, objective in enumerate(names):
        values = [trial.values[index] for trial in trials]
        shares: dict[str, float] = {}
        if values and min(values) < max(values):
            known = objective in METRICS and METRICS[objective].known
            asked = [name for name in params if not (known and name in _OF_TRAINING)]
            shares = _shares(trials, values, directions[index], asked)
        found[objective] = {name: shares.get(name, 0.0) for name in params}
    return found


def sampled(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials with parameters: baselines outside the space have none."""
    return [trial for trial in trials if trial.params]


def quantile_of(n_trials: int) -> float:
    """Return which share of the trials counts as the best: a tenth, or five of them if more."""
    return min(max(_BEST_SHARE, _MIN_BEST / n_trials), 0.5)


def _shares(
    trials: Sequence[FrozenTrial],
    values: Sequence[float],
    direction: StudyDirection,
    asked: Sequence[str],
) -> dict[str, float]:
    study = WindowedStudy(
        optuna.create_study(direction=direction), list(map(_with_value, count(), trials, values))
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile_of(len(trials)))
    with warnings.catch_warnings():
        # Parameters that one trial alone has, or lacks: their importance is small anyhow.
        warnings.simplefilter("ignore")
        return get_param_importances(study, evaluator=evaluator, params=list(asked))


def _with_value(place: int, trial: FrozenTrial, value: float) -> FrozenTrial:
    """Return a trial as one of a study with one objective; its parameters are not copied."""
    found = copy.copy(trial)
    found._trial_id = place  # by which the evaluator tells them apart
    found.state, found.values = TrialState.COMPLETE, [value]
    return found
