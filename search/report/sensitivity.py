"""How much each knob of the search matters, and what each of its values gave."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.front import trained
from search.importance import MIN_TRIALS, importances, sampled
from search.report.facts import Fact, trial_value

_FEW_TRIALS = 40

Point = tuple[int | float | str, Fact]
"""The value of a knob in one trial, and what the trial gave."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What the trials with one value of a knob gave."""

    value: str
    n_trials: int
    median: Fact


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One knob and one objective."""

    name: str
    importance: Fact
    """Shares of all knobs add up to one."""
    points: tuple[Point, ...]
    """The knob's value and the objective, for every complete trial that has the knob."""
    levels: tuple[Level, ...]
    """For knobs with few values: the medians; () for a range."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """All knobs, for each objective the most important one first."""

    n_trials: int
    knobs: tuple[tuple[Knob, ...], ...]

    @property
    def few(self) -> bool:
        """Whether the trials are so few that ranks of importance are rough."""
        return self.n_trials < _FEW_TRIALS


def sensitivity(stored: optuna.Study, names: Sequence[str]) -> Sensitivity | None:
    """Return it; None where too few trials were sampled and trained to their end."""
    trials = sampled(trained(stored.get_trials(deepcopy=False)))
    if len(trials) < MIN_TRIALS:
        return None
    shares = importances(trials, stored.directions, names)
    knobs = tuple(_knobs(trials, index, name, shares[name]) for index, name in enumerate(names))
    return Sensitivity(n_trials=len(trials), knobs=knobs)


def _knobs(
    trials: Sequence[FrozenTrial], index: int, name: str, shares: Mapping[str, float]
) -> tuple[Knob, ...]:
    """Return the knobs that the trials differ in and that have a share, the greatest first."""
    found = []
    for knob, share in sorted(shares.items(), key=lambda item: -item[1]):
        having = [trial for trial in trials if knob in trial.params]
        if not share or len({trial.params[knob] for trial in having}) < 2:
            continue
        points = tuple((trial.params[knob], trial_value(trial, index, name)) for trial in having)
        importance = Fact(value=share, source=f"importance:{name}:{knob}", form="share")
        levels = _levels(points, name, knob)
        found.append(Knob(name=knob, importance=importance, points=points, levels=levels))
    return tuple(found)


def _levels(points: Sequence[Point], name: str, knob: str) -> tuple[Level, ...]:
    values = {value for value, _ in points}
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        return ()
    in_order = sorted(values, key=lambda value: (isinstance(value, str), value))
    levels = []
    for value in in_order:
        scores = [float(fact.value) for own, fact in points if own == value]
        median = Fact(
            value=statistics.median(scores),
            source=f"median:{name}:{knob}:{value}",
            form=points[0][1].form,
        )
        levels.append(Level(value=str(value), n_trials=len(scores), median=median))
    return tuple(levels)
