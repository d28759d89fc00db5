"""The Pareto front of a study: which trials are on it, its knee, its hypervolume, and `--select`.

Everything here is a pure function of frozen trials. Two vectors are compared as losses: an
objective that is maximised changes its sign first. A vector dominates another where it is nowhere
worse and somewhere better, so equal vectors stand side by side.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from space.errors import UserError, close_matches
from space.spec import AdapterSpec

_Losses = tuple[float, ...]
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": lambda value, limit: value <= limit,
    ">=": lambda value, limit: value >= limit,
}
_BOUND = re.compile(r"(?P<name>\w+)\s*(?P<sign><=|>=)\s*(?P<limit>[^\s%]+)\s*(?P<percent>%?)")
_HOW = "`knee`, an objective's name, `trial:N`, or a bound such as `inference_gflops<=0.2`"


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
    return AdapterSpec.from_json(text).describe() if text else ""


def feasible(trial: FrozenTrial) -> bool:
    """Whether the trial was trained to its end and holds every constraint."""
    return trial.state == TrialState.COMPLETE and trial.user_attrs.get("end") == "complete"


def pareto_front(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> list[FrozenTrial]:
    """Return the feasible trials that no other dominates, best last objective (cheapest) first.

    A trial that repeats an earlier one (`same_as`) is left out.
    """
    candidates = _trained(trials)
    ranks = non_dominated_ranks([trial.values for trial in candidates], directions)
    front = [trial for trial, rank in zip(candidates, ranks, strict=True) if rank == 0]
    return sorted(front, key=lambda t: (*reversed(_losses(t.values, directions)), t.number))


def non_dominated_ranks(
    values: Sequence[Sequence[float]], directions: Sequence[StudyDirection]
) -> list[int]:
    """Return the rank of every vector: 0 on the front, 1 on the front of the rest, and so on.

    Equal vectors share a rank.
    """
    losses = [_losses(vector, directions) for vector in values]
    ranks: dict[_Losses, int] = {}
    # Sorted, every vector comes after all that dominate it, and stands one below the lowest.
    for loss in sorted(set(losses)):
        ranks[loss] = 1 + max(
            (ranks[other] for other in ranks if _dominates(other, loss)), default=-1
        )
    return [ranks[loss] for loss in losses]


def knee(front: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> FrozenTrial:
    """Return the point of the front that gives up least of every objective.

    Each objective is scaled to [0, 1] over the front, 0 its best and 1 its worst value; the knee
    has the smallest sum, so it lies farthest below the plane through the extremes (Das, 1999, "On
    characterizing the knee of the Pareto curve"). Equal sums go to the earlier trial.

    Raises:
        ValueError: the front is empty.
    """
    if not front:
        raise ValueError("A knee needs a front of at least one trial, but got none.")
    losses = [_losses(trial.values, directions) for trial in front]
    lows = [min(axis) for axis in zip(*losses, strict=True)]
    spans = [(max(axis) - min(axis)) or 1.0 for axis in zip(*losses, strict=True)]

    def given_up(index: int) -> tuple[float, int]:
        scaled = zip(losses[index], lows, spans, strict=True)
        # Rounded, so that equal sums tie whatever the order in which they were added up.
        return (
            round(sum((loss - low) / span for loss, low, span in scaled), 9),
            front[index].number,
        )

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
    limit = _losses(reference, directions)
    losses = {_losses(vector, directions) for vector in front_values}
    inside = [loss for loss in losses if all(a < b for a, b in zip(loss, limit, strict=True))]
    return _volume(sorted(inside, key=lambda loss: loss[-1]), limit)


def select(
    trials: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    names: Sequence[str],
    choice: str,
) -> FrozenTrial:
    """Return the trial that `--select` names.

    Args:
        trials: all trials of the study.
        directions: the direction of every objective.
        names: the names of the objectives.
        choice: `knee`; the name of an objective (the best of the front in it), or `accuracy` for
            the first one; `trial:N`; or bounds on objectives and metrics, joined by commas, as
            in `inference_gflops<=0.2,accuracy>=80%` (the best first objective of all complete
            trials that hold them).

    Raises:
        UserError: nothing is finished yet, the name is unknown, trial N is not complete, or no
            trial holds the bounds.
    """
    choice = choice.strip()
    if choice.startswith("trial:"):
        return _by_number(trials, choice.removeprefix("trial:"))
    trained = _trained(trials)
    if not trained:
        raise UserError(f"The study has no complete trial yet, so `{choice}` selects nothing.")
    if "<" in choice or ">" in choice or "=" in choice:
        return _by_bounds(trained, directions, names, choice)
    front = pareto_front(trials, directions)
    if choice == "knee":
        return knee(front, directions)
    if choice in names:
        return _best(front, directions, names.index(choice))
    if choice == "accuracy":
        return _best(front, directions, 0)
    raise UserError(
        f"--select takes {_HOW}, but got `{choice}`; the objectives are {', '.join(names)}."
        + close_matches(choice, {"knee", "accuracy", *names})
    )


def _losses(vector: Sequence[float], directions: Sequence[StudyDirection]) -> _Losses:
    return tuple(
        -value if direction == StudyDirection.MAXIMIZE else value
        for value, direction in zip(vector, directions, strict=True)
    )


def _dominates(one: _Losses, other: _Losses) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _trained(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if feasible(trial) and "same_as" not in trial.user_attrs]


def _volume(losses: Sequence[_Losses], limit: _Losses) -> float:
    """The hypervolume of losses below the limit, sorted by their last axis."""
    if not losses:
        return 0.0
    if len(limit) == 1:
        return limit[0] - losses[0][0]
    volume = 0.0
    for index, loss in enumerate(losses):
        upper = losses[index + 1][-1] if index + 1 < len(losses) else limit[-1]
        if upper > loss[-1]:
            below = sorted((other[:-1] for other in losses[: index + 1]), key=lambda o: o[-1])
            volume += (upper - loss[-1]) * _volume(below, limit[:-1])
    return volume


def _best(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], objective: int
) -> FrozenTrial:
    """The best in one objective; ties go to the other objectives in order, then to the earlier."""

    def key(trial: FrozenTrial) -> tuple[float, ...]:
        losses = _losses(trial.values, directions)
        return (losses[objective], *losses, trial.number)

    return min(trials, key=key)


def _by_number(trials: Sequence[FrozenTrial], text: str) -> FrozenTrial:
    if not text.strip().isdecimal():
        raise UserError(f"`trial:N` takes the number of a trial, but got `trial:{text}`.")
    by_number = {trial.number: trial for trial in trials}
    number = int(text)
    if number not in by_number:
        last = max(by_number, default=-1)
        known = f"its trials are 0 to {last}" if by_number else "it has no trial yet"
        raise UserError(f"The study has no trial {number}: {known}.")
    trial = by_number[number]
    if not feasible(trial):
        end = trial.user_attrs.get("end", trial.state.name.lower())
        reason = trial.user_attrs.get("reason")
        why = f" ({reason})" if reason else ""
        raise UserError(
            f"Trial {number} cannot be selected: it ended as {end}{why}."
            if trial.state.is_finished()
            else f"Trial {number} cannot be selected yet: it is {trial.state.name.lower()}."
        )
    # Equal to an earlier trial: that one was trained and holds the weights.
    return by_number[trial.user_attrs.get("same_as", number)]


@dataclass(frozen=True, kw_only=True)
class _Bound:
    name: str
    sign: str
    limit: float

    def excess(self, value: float) -> float:
        """How far the value lies outside the bound, relative to the limit; 0 inside."""
        if _HOLDS[self.sign](value, self.limit):
            return 0.0
        return abs(value - self.limit) / (abs(self.limit) or 1.0)


def _by_bounds(
    trained: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    names: Sequence[str],
    choice: str,
) -> FrozenTrial:
    numbers = [_numbers(trial, names) for trial in trained]
    bounds = _bounds(choice, set().union(*numbers))
    excess = [
        sum(b.excess(of[b.name]) if b.name in of else float("inf") for b in bounds)
        for of in numbers
    ]
    held = [trial for trial, over in zip(trained, excess, strict=True) if over == 0]
    if held:
        return _best(held, directions, 0)
    nearest = min(range(len(trained)), key=lambda i: (excess[i], trained[i].number))
    has = ", ".join(f"{b.name}={numbers[nearest].get(b.name, float('nan')):.6g}" for b in bounds)
    raise UserError(
        f"No complete trial holds `{choice}`; the nearest is trial {trained[nearest].number}"
        f" with {has}."
    )


def _numbers(trial: FrozenTrial, names: Sequence[str]) -> dict[str, float]:
    """Everything that a bound may name: the metrics and the objectives of a complete trial."""
    return {**trial.user_attrs.get("metrics", {}), **dict(zip(names, trial.values, strict=True))}


def _bounds(choice: str, known: set[str]) -> list[_Bound]:
    """Read all bounds. Raises UserError with all that is wrong in them at once."""
    bounds, problems = [], []
    for part in choice.split(","):
        match = _BOUND.fullmatch(part.strip())
        try:
            limit = float(match["limit"]) if match else float("nan")
        except ValueError:
            limit = float("nan")
        if match is None or limit != limit:
            problems.append(
                f"A bound is a metric, `<=` or `>=`, and a number, but got `{part.strip()}`."
            )
        elif match["name"] not in known:
            problems.append(
                f"No trial has a metric `{match['name']}`; there are {', '.join(sorted(known))}."
                + close_matches(match["name"], known)
            )
        else:
            scale = 100.0 if match["percent"] else 1.0
            bounds.append(_Bound(name=match["name"], sign=match["sign"], limit=limit / scale))
    if problems:
        raise UserError(problems)
    return bounds
