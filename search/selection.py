"""`--select`: how a user names one trial of a study."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.front import feasible, knee, pareto_front, trained
from search.ranking import losses_of
from space.errors import UserError, close_matches

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": lambda value, limit: value <= limit,
    ">=": lambda value, limit: value >= limit,
}
_BOUND = re.compile(r"(?P<name>\w+)\s*(?P<sign><=|>=)\s*(?P<limit>[^\s%]+)\s*(?P<percent>%?)")
_MAX_DIGITS = 60  # Python itself refuses to read a number of thousands of digits
_HOW = "`knee`, an objective's name, `trial:N`, or a bound such as `inference_gflops<=0.2`"


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
    complete = trained(trials)
    if not complete:
        raise UserError(f"The study has no complete trial yet, so `{choice}` selects nothing.")
    if "<" in choice or ">" in choice or "=" in choice:
        return _by_bounds(complete, directions, names, choice)
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


def _best(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], objective: int
) -> FrozenTrial:
    """The best in one objective; ties go to the other objectives in order, then to the earlier."""

    def key(trial: FrozenTrial) -> tuple[float, ...]:
        losses = losses_of(trial.values, directions)
        return (losses[objective], *losses, trial.number)

    return min(trials, key=key)


def _by_number(trials: Sequence[FrozenTrial], text: str) -> FrozenTrial:
    if not text.strip().isdecimal() or len(text) > _MAX_DIGITS:
        raise UserError(f"`trial:N` takes the number of a trial, but got `trial:{text[:60]}`.")
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
    complete: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    names: Sequence[str],
    choice: str,
) -> FrozenTrial:
    numbers = [_numbers(trial, names) for trial in complete]
    bounds = _bounds(choice, set().union(*numbers))
    excess = [
        sum(b.excess(of[b.name]) if b.name in of else float("inf") for b in bounds)
        for of in numbers
    ]
    held = [trial for trial, over in zip(complete, excess, strict=True) if over == 0]
    if held:
        return _best(held, directions, 0)
    nearest = min(range(len(complete)), key=lambda i: (excess[i], complete[i].number))
    has = ", ".join(f"{b.name}={numbers[nearest].get(b.name, float('nan')):.6g}" for b in bounds)
    raise UserError(
        f"No complete trial holds `{choice}`; the nearest is trial {complete[nearest].number}"
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
