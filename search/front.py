"""The Pareto front of a study: which trials are on it, its knee and its hypervolume.

Everything here is a pure function of frozen trials. How vectors are compared says
search/ranking.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.ranking import Losses, losses_of, non_dominated_ranks
from space.spec import AdapterSpec


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """One point of the front in plain data, for tables and scripts."""

    number: int
    values: tuple[float, ...]
    structure: str
    baseline: str | None

    @classmethod
    def of(cls, trial: FrozenTrial) -> "FrontPoint":
        """Return the point that a complete trial makes."""
        return cls(
            number=trial.number,
            values=tuple(trial.values),
            structure=structure(trial),
            baseline=trial.user_attrs.get("baseline"),
        )


def structure(trial: FrozenTrial) -> str:
    """Return the structure of a trial in words, "" where none was sampled yet."""
    text = trial.user_attrs.get("spec")
    return _in_words(text) if text else ""


@lru_cache(maxsize=10_000)
def _in_words(spec: str) -> str:
    return AdapterSpec.from_json(spec).describe()


def feasible(trial: FrozenTrial) -> bool:
    """Whether the trial was trained to its end and holds every constraint."""
    return trial.state == TrialState.COMPLETE and trial.user_attrs.get("end") == "complete"


def pareto_front(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> list[FrozenTrial]:
    """Return the feasible trials that no other dominates, best last objective (cheapest) first.

    A trial that repeats an earlier one (`same_as`) is left out.
    """
    candidates = trained(trials)
    ranks = non_dominated_ranks([trial.values for trial in candidates], directions)
    front = [trial for trial, rank in zip(candidates, ranks, strict=True) if rank == 0]
    return sorted(front, key=lambda t: (*reversed(losses_of(t.values, directions)), t.number))


def knee(front: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> FrozenTrial:
    """Return the point of the front that gives up least of every objective.

    Each objective is scaled to [0, 1] over the front, 0 its best and 1 its worst value; the knee
    has the smallest sum, so it lies farthest below the plane through the extremes (Das, 1999, "On
    characterizing the knee of the Pareto curve"). Of equal sums, as both ends of a front without a
    knee have, the one counts that gives up less of the last objective, as a rule the cost; then
    the earlier trial.

    Raises:
        ValueError: the front is empty.
    """
    if not front:
        raise ValueError("A knee needs a front of at least one trial, but got none.")
    losses = [losses_of(trial.values, directions) for trial in front]
    lows = [min(axis) for axis in zip(*losses, strict=True)]
    spans = [(max(axis) - min(axis)) or 1.0 for axis in zip(*losses, strict=True)]

    def given_up(index: int) -> tuple[float, float, int]:
        axes = zip(losses[index], lows, spans, strict=True)
        scaled = [(loss - low) / span for loss, low, span in axes]
        # Rounded, so that equal sums tie whatever the order in which they were added up.
        return round(sum(scaled), 9), scaled[-1], front[index].number

    return front[min(range(len(front)), key=given_up)]


def hypervolume(
    front_values: Sequence[Sequence[float]],
    reference: Sequence[float],
    directions: Sequence[StudyDirection],
) -> float:
    """Return the volume between the vectors and a reference point, exactly.

    Vectors that do not reach the reference in every objective add nothing. Two objectives are one
    sweep; more are cut into slices along the last one, each a hypervolume of one objective less.
    """
    limit = losses_of(reference, directions)
    losses = {losses_of(vector, directions) for vector in front_values}
    inside = [loss for loss in losses if all(a < b for a, b in zip(loss, limit, strict=True))]
    # What is dominated adds nothing, and there may be much of it.
    ranks = non_dominated_ranks(inside, [StudyDirection.MINIMIZE] * len(limit))
    front = [loss for loss, rank in zip(inside, ranks, strict=True) if rank == 0]
    return _volume(sorted(front, key=lambda loss: loss[-1]), limit)


def trained(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the feasible trials that were trained themselves, repeats (`same_as`) left out."""
    return [trial for trial in trials if feasible(trial) and "same_as" not in trial.user_attrs]


def _volume(losses: Sequence[Losses], limit: Losses) -> float:
    """The hypervolume of losses below the limit, sorted by their last axis."""
    if not losses:
        return 0.0
    if len(limit) == 1:
        return limit[0] - losses[0][0]
    volume, least = 0.0, limit[0]
    for index, loss in enumerate(losses):
        upper = losses[index + 1][-1] if index + 1 < len(losses) else limit[-1]
        least = min(least, loss[0])
        if upper == loss[-1]:
            continue
        if len(limit) == 2:
            below = limit[0] - least
        else:
            cut = (other[:-1] for other in losses[: index + 1])
            below = _volume(sorted(cut, key=lambda other: other[-1]), limit[:-1])
        volume += (upper - loss[-1]) * below
    return volume
