"""Stop bad trials early, with several objectives: pareto-halving.

Optuna's own pruners know one objective (optuna issue 3450). Here a trial that reaches a rung is
ranked among all that reached it, with the objectives' values of that time; costs in closed form
are known from the start and count in full. A decision is a function of vectors alone, so that a
finished study, or a table of curves, can be replayed through it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optuna.study import StudyDirection

from search.ranking import n_dominating, ranking_of

Rung = Mapping[int, Sequence[float]]
"""Trial number -> its objectives' values when it reached this rung."""


class Pruner(Protocol):
    """Decides whether a trial goes on."""

    @property
    def patience(self) -> int:
        """Rungs in a row that have to speak against a trial before it is stopped."""

    def rungs(self, epochs: int) -> tuple[float, ...]:
        """Return the times, in epochs, at which trials are compared, before the last epoch."""

    def stops(self, number: int, rung: Rung, directions: Sequence[StudyDirection]) -> str | None:
        """Return what speaks at this rung against trial `number` going on, or None."""

    def may_return(
        self, number: int, rung: Rung, directions: Sequence[StudyDirection], n_at_most: int
    ) -> bool:
        """Return whether a stopped trial could go on, had so many trials reached this rung."""


@dataclass(frozen=True, kw_only=True)
class ParetoHalving:
    """Asynchronous successive halving (Li et al. 2018, arXiv 1810.05934) on several objectives.

    At a rung trials are ranked by non-dominated front, and within a front by spread. One goes on
    while `place / trials at the rung <= 1 / reduction`, the best place being 0; one that is on the
    rung's first front always does.
    """

    reduction: int = 3
    """One in so many goes on; a rung lies at so many times the epochs of the one before."""
    first_rung: float = 1.0
    """Where the first rung lies, in epochs; below 1 within the first epoch."""
    min_peers: int = 3
    """Other trials that must have reached a rung before it decides anything."""
    patience: int = 1
    """Rungs in a row that have to speak against a trial before it is stopped."""

    def rungs(self, epochs: int) -> tuple[float, ...]:
        """Return the times, in epochs, at which trials are compared, before the last epoch."""
        n_rungs = max(0, math.ceil(math.log(epochs / self.first_rung, self.reduction)) + 1)
        levels = (round(self.first_rung * self.reduction**i, 6) for i in range(n_rungs))
        return tuple(level for level in levels if level < epochs)

    def stops(self, number: int, rung: Rung, directions: Sequence[StudyDirection]) -> str | None:
        """Return what speaks at this rung against trial `number` going on, or None."""
        if len(rung) - 1 < self.min_peers:
            return None
        ranking = ranking_of(list(rung.values()), directions)
        index = list(rung).index(number)
        place, front = ranking.places[index], ranking.fronts[index]
        if front == 0 or place * self.reduction <= len(rung):
            return None
        return f"behind {place} of {len(rung)} trials at this rung (front {front + 1})"

    def may_return(
        self, number: int, rung: Rung, directions: Sequence[StudyDirection], n_at_most: int
    ) -> bool:
        """Return whether a stopped trial could go on, had so many trials reached this rung.

        Fronts and spread change with every trial that comes, but what dominates it stays better.
        """
        n_better = n_dominating(rung[number], list(rung.values()), directions)
        return n_better * self.reduction <= max(n_at_most, len(rung))


@dataclass(frozen=True, kw_only=True)
class AccuracyHalving:
    """The same on the first objective alone: asynchronous successive halving as it was written."""

    reduction: int = ParetoHalving.reduction
    first_rung: float = ParetoHalving.first_rung
    min_peers: int = ParetoHalving.min_peers
    patience: int = ParetoHalving.patience

    def rungs(self, epochs: int) -> tuple[float, ...]:
        """Return the times, in epochs, at which trials are compared, before the last epoch."""
        return self._halving.rungs(epochs)

    def stops(self, number: int, rung: Rung, directions: Sequence[StudyDirection]) -> str | None:
        """Return what speaks at this rung against trial `number` going on, or None."""
        return self._halving.stops(number, _first(rung), directions[:1])

    def may_return(
        self, number: int, rung: Rung, directions: Sequence[StudyDirection], n_at_most: int
    ) -> bool:
        """Return whether a stopped trial could go on, had so many trials reached this rung."""
        return self._halving.may_return(number, _first(rung), directions[:1], n_at_most)

    @property
    def _halving(self) -> ParetoHalving:
        return ParetoHalving(**vars(self))


def _first(rung: Rung) -> Rung:
    return {number: values[:1] for number, values in rung.items()}


@dataclass(frozen=True, kw_only=True)
class NoPruner:
    """Lets every trial run to its end; the settings of the others mean nothing to it."""

    patience: int = 1

    def rungs(self, epochs: int) -> tuple[float, ...]:
        """Return no rung."""
        return ()

    def stops(self, number: int, rung: Rung, directions: Sequence[StudyDirection]) -> str | None:
        """Return None: nothing is stopped."""
        return None

    def may_return(
        self, number: int, rung: Rung, directions: Sequence[StudyDirection], n_at_most: int
    ) -> bool:
        """Return True: nothing stands against it."""
        return True


PRUNERS: dict[str, Callable[..., Pruner]] = {
    "pareto-halving": ParetoHalving,
    "accuracy-halving": AccuracyHalving,
    "none": lambda **settings: NoPruner(),
}
"""Pruners by name, made with the settings of the study file's section `pruning`."""


def make_pruner(name: str, **settings: Any) -> Pruner:
    """Return a pruner; settings left out have their defaults."""
    return PRUNERS[name](**settings)


def stopped_at(
    pruner: Pruner, number: int, reached: Sequence[Rung], directions: Sequence[StudyDirection]
) -> str | None:
    """Return why trial `number` is to be stopped at the last of the rungs that it reached, or None.

    Args:
        pruner: what decides at each rung.
        number: the trial.
        reached: the rungs that the trial reached, in their order, itself among them.
        directions: of the objectives.
    """
    if len(reached) < pruner.patience:
        return None
    reasons = [pruner.stops(number, rung, directions) for rung in reached[-pruner.patience :]]
    return reasons[-1] if all(reasons) else None


def may_return(
    pruner: Pruner,
    number: int,
    reached: Sequence[Rung],
    directions: Sequence[StudyDirection],
    n_at_most: int,
) -> bool:
    """Return whether a stopped trial could go on, had so many trials reached every rung."""
    last = reached[-pruner.patience :]
    return any(pruner.may_return(number, rung, directions, n_at_most) for rung in last)
