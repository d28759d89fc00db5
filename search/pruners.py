"""Stop bad trials early, with several objectives: pareto-halving.

Optuna's own pruners know one objective (optuna issue 3450). Here a trial that reaches a rung is
ranked by non-domination among all that reached it, with the objectives' values of that epoch;
costs in closed form are known from the start and count in full.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from optuna.study import StudyDirection

from search.front import non_dominated_ranks

Rung = Mapping[int, Sequence[float]]
"""Trial number -> its objectives' values when it reached this rung."""


class Pruner(Protocol):
    """Decides whether a trial goes on."""

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs after which trials are compared, below the last one."""

    def stops(self, number: int, rung: Rung, directions: Sequence[StudyDirection]) -> str | None:
        """Return why trial `number` is to be stopped at this rung, or None."""


@dataclass(frozen=True, kw_only=True)
class ParetoHalving:
    """Asynchronous successive halving (Li et al. 2018, arXiv 1810.05934) on non-dominated rank.

    A trial goes on if it is among the best 1 / reduction of those that reached the rung so far;
    one that is on the rung's front always does.
    """

    reduction: int = 2
    """One in so many goes on; rungs lie at 1, reduction, reduction squared, ... epochs."""
    min_peers: int = 4
    """Other trials that must have reached a rung before it decides anything."""

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs after which trials are compared, below the last one."""
        n_rungs = math.ceil(math.log(epochs, self.reduction)) if epochs > 1 else 0
        levels = (self.reduction**i for i in range(n_rungs))
        return tuple(level for level in levels if level < epochs)

    def stops(self, number: int, rung: Rung, directions: Sequence[StudyDirection]) -> str | None:
        """Return why trial `number` is to be stopped at this rung, or None."""
        if len(rung) - 1 < self.min_peers:
            return None
        numbers = list(rung)
        by_number = dict(
            zip(numbers, non_dominated_ranks([rung[n] for n in numbers], directions), strict=True)
        )
        own = by_number[number]
        n_better = sum(rank < own for rank in by_number.values())
        if own == 0 or n_better < len(rung) / self.reduction:
            return None
        return f"behind {n_better} of {len(rung)} trials at this rung (front {own + 1})"


@dataclass(frozen=True, kw_only=True)
class NoPruner:
    """Lets every trial run to its end."""

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return no rung."""
        return ()

    def stops(self, number: int, rung: Rung, directions: Sequence[StudyDirection]) -> str | None:
        """Return None: nothing is stopped."""
        return None


PRUNERS: dict[str, Pruner] = {"pareto-halving": ParetoHalving(), "none": NoPruner()}
"""Pruners by name."""
