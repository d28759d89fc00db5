"""Order vectors of objectives: by non-dominated fronts, and within a front by spread.

Pure functions of vectors; no trial is known here. Vectors are compared as losses: an objective
that is maximised changes its sign first. A vector dominates another where it is nowhere worse and
somewhere better, so equal vectors stand side by side.

Shapes: `U` distinct vectors, `M` objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection

Losses = tuple[float, ...]
"""Objectives turned so that less is better."""

_ENDLESS = 1e300
"""Stands for a loss without bound, and for one that is no number: the span of an objective must
stay finite."""
_DIGITS = 9
"""Of a spread; so that equal ones tie whatever the scale they were computed on."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Where each of some vectors stands among them."""

    fronts: tuple[int, ...]
    """0 on the front, 1 on the front of the rest, and so on."""
    places: tuple[int, ...]
    """How many vectors stand before this one: 0 is the best, equal vectors share the better."""


def losses_of(vector: Sequence[float], directions: Sequence[StudyDirection]) -> Losses:
    """Return a vector of objectives with every sign so that less is better."""
    return tuple(
        -value if direction == StudyDirection.MAXIMIZE else value
        for value, direction in zip(vector, directions, strict=True)
    )


def ranking_of(values: Sequence[Sequence[float]], directions: Sequence[StudyDirection]) -> Ranking:
    """Rank vectors by front, then by spread, then by the objectives in their order.

    It depends neither on the order in which the vectors are given nor on the scale of an
    objective.
    """
    if not values:
        return Ranking(fronts=(), places=())
    losses, inverse, counts = _distinct(values, directions)
    fronts = _fronts(losses)
    spread = _spread(losses, fronts)
    # Distinct vectors come sorted, so that their index breaks the last ties.
    order = np.lexsort((np.arange(len(losses)), -spread, fronts))
    places = np.empty(len(losses), dtype=int)
    places[order] = np.cumsum(counts[order]) - counts[order]
    return Ranking(fronts=tuple(fronts[inverse].tolist()), places=tuple(places[inverse].tolist()))


def non_dominated_ranks(
    values: Sequence[Sequence[float]], directions: Sequence[StudyDirection]
) -> list[int]:
    """Return the front of every vector: 0 is the first, 1 that of the rest, and so on."""
    if not values:
        return []
    losses, inverse, _ = _distinct(values, directions)
    ranks: list[int] = _fronts(losses)[inverse].tolist()
    return ranks


def n_dominating(
    vector: Sequence[float],
    values: Sequence[Sequence[float]],
    directions: Sequence[StudyDirection],
) -> int:
    """Return how many of the vectors dominate this one."""
    own = np.asarray(losses_of(vector, directions))
    others = np.asarray([losses_of(other, directions) for other in values])
    return int(((others <= own).all(axis=1) & (others < own).any(axis=1)).sum())


def _distinct(
    values: Sequence[Sequence[float]], directions: Sequence[StudyDirection]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct losses (U, M), where each vector is among them, and how many each is."""
    raw = np.array([losses_of(vector, directions) for vector in values], dtype=float)
    # Adding zero makes one of the two zeros.
    losses = np.nan_to_num(raw, nan=_ENDLESS, posinf=_ENDLESS, neginf=-_ENDLESS) + 0.0
    found, inverse, counts = np.unique(losses, axis=0, return_inverse=True, return_counts=True)
    return found, inverse.reshape(-1), counts


def _fronts(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the front (U,) of each of distinct losses (U, M): peel one off after the other."""
    no_worse = losses[:, None, :] <= losses[None, :, :]
    above: NDArray[np.bool_] = np.all(no_worse, axis=2)  # (U, U): row dominates column
    np.fill_diagonal(above, False)
    n_above = above.sum(axis=0)
    fronts = np.empty(len(losses), dtype=int)
    front = 0
    while (bare := n_above == 0).any():
        fronts[bare] = front
        n_above = n_above - above[bare].sum(axis=0)
        n_above[bare] = -1
        front += 1
    return fronts


def _spread(losses: NDArray[np.float64], fronts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each vector's crowding distance (U,) within its front (Deb et al. 2002, NSGA-II).

    Objectives are scaled to the range that all vectors have, not to that of the front; one in
    which a front does not differ tells nothing of its spread.
    """
    spans = losses.max(axis=0) - losses.min(axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(spans > 0, spans, 1.0)
    spread = np.zeros(len(losses))
    for front in range(int(fronts.max()) + 1):
        members = np.flatnonzero(fronts == front)
        for axis in scaled[members].T:
            order = np.argsort(axis, kind="stable")
            ordered = axis[order]
            if ordered[0] == ordered[-1]:
                continue
            gaps = np.full(len(members), np.inf)
            gaps[order[1:-1]] = ordered[2:] - ordered[:-2]
            spread[members] += gaps
    return np.round(spread, _DIGITS)
