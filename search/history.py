"""How much of a long study a sampler learns from: the front, what runs, and the latest trials.

TPE weighs every trial for every parameter that it proposes. On the default space an ask took
0.05 s of one core after 500 trials, 0.25 s after 2,000 and 0.6 s after 5,000, and more where there
are more parameters; so from 1,000 on it is shown a window. What is good stays in it, and what is
old and no longer good says least.
"""

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.ranking import losses_of

MAX_MODELLED = 1000
"""Ended trials that TPE learns from at most; a study of fewer is seen whole."""

_MODELLED = (TrialState.COMPLETE, TrialState.PRUNED)


class WindowedTPESampler(optuna.samplers.TPESampler):
    """Optuna's TPE on the window of a study. With no more trials than that it is the same."""

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """See Optuna."""
        return super().infer_relative_search_space(_windowed(study), trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, optuna.distributions.BaseDistribution],
    ) -> dict[str, Any]:
        """See Optuna."""
        return super().sample_relative(_windowed(study), trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        """See Optuna."""
        window = _windowed(study)
        return super().sample_independent(window, trial, param_name, param_distribution)


def window_of(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> list[FrozenTrial]:
    """Return the trials that a sampler learns from, in their order.

    Args:
        trials: all of a study, in their order.
        directions: of the objectives.

    Returns:
        All of them where no more than `MAX_MODELLED` are complete or pruned. Else the running
        ones, and as many ended ones: the front, at most half of them, and the latest.
    """
    ended = [trial for trial in trials if trial.state in _MODELLED]
    if len(ended) <= MAX_MODELLED:
        return list(trials)
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    losses = np.array([losses_of(trial.values, directions) for trial in complete], dtype=float)
    front = [complete[place] for place in _front(losses.reshape(len(complete), -1))]
    kept = {trial.number for trial in front[-MAX_MODELLED // 2 :]}
    for trial in reversed(ended):
        if len(kept) == MAX_MODELLED:
            break
        kept.add(trial.number)
    running = TrialState.RUNNING
    return [trial for trial in trials if trial.number in kept or trial.state == running]


def notices(sampler: str, n_trials: int) -> list[str]:
    """Return what the user should know of how a study of so many trials is sampled."""
    if sampler != "tpe" or n_trials <= MAX_MODELLED:
        return []
    return [
        f"sampler: from {MAX_MODELLED:,} trials on, tpe learns from the front and the latest"
        f" {MAX_MODELLED:,} alone, so that a proposal takes a fraction of a second."
    ]


def _front(losses: NDArray[np.float64]) -> list[int]:
    """Return the places of the vectors (U, M) that none dominates, in their order."""
    left = np.arange(len(losses))
    found: list[int] = []
    while len(left):
        # The least sum of those left is dominated by none of them.
        best = left[np.argmin(losses[left].sum(axis=1))]
        equal = left[(losses[left] == losses[best]).all(axis=1)]
        found += equal.tolist()
        left = left[(losses[left] < losses[best]).any(axis=1)]
    return sorted(found)


def _windowed(study: optuna.Study) -> "WindowedStudy":
    """Return the study as a sampler is to see it, read once.

    Optuna's TPE reads all trials for each group of parameters, and its storage then asks the
    database anew for every trial that runs: with a hundred workers that was most of a proposal.
    """
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return WindowedStudy(study, window_of(trials, study.directions))


class WindowedStudy(optuna.Study):
    """A study of which some trials alone are seen; what is written goes to the study itself.

    Args:
        study: what is written to.
        window: the trials that are seen; they are not copied.
    """

    def __init__(self, study: optuna.Study, window: Sequence[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._window = window

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        assert not deepcopy, "a sampler reads"
        return [trial for trial in self._window if states is None or trial.state in states]
