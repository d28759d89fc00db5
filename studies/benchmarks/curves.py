"""The curves of one data set and training seed, as a replay looks them up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas
from optuna.study import StudyDirection

from search.front import hypervolume
from search.ranking import non_dominated_ranks

DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
"""Of accuracy and inference_gflops."""
RUNG_DIRECTIONS = (*DIRECTIONS, StudyDirection.MINIMIZE)
"""Of what stands at a rung: the objectives and the validation loss."""

Values = tuple[float, float]
"""(accuracy, inference_gflops)"""

_NEAR = 1e-3
"""Of an epoch: points of time that differ by less are one."""
_BEYOND = 1.01
"""The reference point lies so far behind the most expensive structure."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What training one structure gave."""

    accuracies: Mapping[float, float]
    """By epochs done, in their order."""
    losses: Mapping[float, float]
    """Of the validation rows, likewise."""
    inference_gflops: float
    epoch_gflops: float
    """What an epoch of training costs."""

    @cached_property
    def final(self) -> Values:
        """The objectives' values at the end."""
        return self.at(self.n_epochs)

    @property
    def n_epochs(self) -> float:
        """How long the whole training is."""
        return max(self.accuracies)

    def at(self, epoch: float) -> Values:
        """Return the objectives' values at a point of time.

        Raises:
            ValueError: the table has no such point.
        """
        return self.accuracies[self._point(epoch)], self.inference_gflops

    def at_rung(self, epoch: float) -> tuple[float, float, float]:
        """Return what stands at a rung at a point of time: the objectives and the loss.

        Raises:
            ValueError: the table has no such point.
        """
        return *self.at(epoch), self.losses[self._point(epoch)]

    def _point(self, epoch: float) -> float:
        for point in self.accuracies:
            if abs(point - epoch) < _NEAR:
                return point
        raise ValueError(
            f"The table has the curves at {', '.join(f'{p:g}' for p in self.accuracies)} epochs,"
            f" but got {epoch:g}."
        )


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All structures of one data set, trained with one seed, and the same with another seed."""

    data: str
    seed: int
    searched: Mapping[str, Curve]
    """By the JSON of the structure: what the search sees."""
    checked: Mapping[str, Curve]
    """The same structures trained with another seed, which no search sees."""
    reference: Values
    """Where hypervolume begins: the worst final accuracy of any training of this data set, and just
    above the cost of the most expensive structure."""

    @property
    def n_epochs(self) -> int:
        """How long a whole training is."""
        return int(next(iter(self.searched.values())).n_epochs)

    def searched_share(self, structures: Sequence[str]) -> float:
        """Return the hypervolume of some structures as a share of that of all."""
        return self._volume(self.searched, structures) / self._all_searched

    def checked_share(self, structures: Sequence[str]) -> float:
        """Return the same where other weights and another order of the rows were drawn."""
        return self._volume(self.checked, structures) / self._all_checked

    def front_of(self, structures: Sequence[str]) -> list[str]:
        """Return the structures that no other dominates, as the search sees them."""
        return _front(self.searched, structures)

    @cached_property
    def _all_searched(self) -> float:
        return self._volume(self.searched, _front(self.searched, list(self.searched)))

    @cached_property
    def _all_checked(self) -> float:
        return self._volume(self.checked, _front(self.checked, list(self.checked)))

    def _volume(self, curves: Mapping[str, Curve], structures: Sequence[str]) -> float:
        values = [curves[structure].final for structure in structures]
        return hypervolume(values, self.reference, DIRECTIONS)


def _front(curves: Mapping[str, Curve], structures: Sequence[str]) -> list[str]:
    ranks = non_dominated_ranks([curves[s].final for s in structures], DIRECTIONS)
    return [s for s, rank in zip(structures, ranks, strict=True) if rank == 0]


def curves_of(frame: pandas.DataFrame, rows: Mapping[str, int]) -> list[Curves]:
    """Return the curves of each data set and seed of a table.

    Args:
        frame: the table (studies/benchmarks/table.py); every data set has the same two seeds.
        rows: how many training rows each data set has.
    """
    found = []
    for data, own in frame.groupby("data", sort=False):
        by_seed = {
            int(str(seed)): _by_structure(part, rows[str(data)])
            for seed, part in own.groupby("seed")
        }
        finals = [curve.final for curves in by_seed.values() for curve in curves.values()]
        worst = min(accuracy for accuracy, _ in finals)
        dearest = _BEYOND * max(gflops for _, gflops in finals)
        first, second = by_seed
        for seed, other in ((first, second), (second, first)):
            curves = Curves(
                data=str(data),
                seed=seed,
                searched=by_seed[seed],
                checked=by_seed[other],
                reference=(worst, dearest),
            )
            found.append(curves)
    return found


def _by_structure(frame: pandas.DataFrame, n_rows: int) -> dict[str, Curve]:
    curves = {}
    for structure, own in frame.groupby("structure", sort=False):
        first = own.iloc[0]
        curves[str(structure)] = Curve(
            accuracies=dict(sorted(zip(own["epoch"], own["accuracy"], strict=True))),
            losses=dict(sorted(zip(own["epoch"], own["validation_loss"], strict=True))),
            inference_gflops=float(first["inference_gflops"]),
            epoch_gflops=float(first["training_gflops"]) * n_rows,
        )
    return curves
