"""The hypervolume of a study as one number between 0 and 1, and how it grew."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.front import hypervolume, trained
from search.moments import end_of
from search.ranking import losses_of, non_dominated_ranks

MARGIN = 0.1
"""The reference lies so far beyond the worst values, of their range: the ends of a front count."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """The volume after one more complete trial."""

    trial: FrozenTrial
    share: float
    """Of the box between the reference and the best value of each objective: 0 to 1."""


def volumes(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[Volume]:
    """Return how the hypervolume grew, trial after trial in the order in which they ended.

    The box is the same for all: from the best value of each objective that any complete trial has
    to a tenth beyond the worst. An objective in which all trials are equal is left out.
    """
    complete = sorted(trained(trials), key=_ended)
    if not complete:
        return []
    scaled = _scaled(complete, directions)
    front = np.empty((0, scaled.shape[1]))
    share, found = 0.0, []
    for trial, own in zip(complete, scaled, strict=True):
        # Most trials change nothing: the volume is computed anew only where the front does.
        if not (front <= own).all(axis=1).any() or scaled.shape[1] == 0:
            front = np.vstack([front[(front < own).any(axis=1)], own])
            share = _share(front)
        found.append(Volume(trial=trial, share=share))
    return found


def volume_so_far(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> float:
    """Return the hypervolume of all trials, 0 where none is complete."""
    complete = trained(trials)
    if not complete:
        return 0.0
    scaled = _scaled(complete, directions)
    ranks = non_dominated_ranks([trial.values for trial in complete], directions)
    return _share(scaled[np.array(ranks) == 0])


def _scaled(
    complete: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> NDArray[np.float64]:
    """Losses (trials, objectives that differ), 0 the best and 1 the worst of each."""
    losses = np.array([losses_of(trial.values, directions) for trial in complete])
    low, span = losses.min(axis=0), np.ptp(losses, axis=0)
    scaled: NDArray[np.float64] = (losses - low)[:, span > 0] / span[span > 0]
    return scaled


def _share(front: NDArray[np.float64]) -> float:
    n_axes = front.shape[1]
    if n_axes == 0:
        return 1.0
    minimize = [StudyDirection.MINIMIZE] * n_axes
    box: float = (1 + MARGIN) ** n_axes
    return hypervolume(front.tolist(), [1 + MARGIN] * n_axes, minimize) / box


def _ended(trial: FrozenTrial) -> tuple[datetime, int]:
    return (end_of(trial), trial.number)
