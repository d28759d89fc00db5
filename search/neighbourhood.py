"""A short search around one structure: does a structure beside it dominate it?

In memory, on the study's own space and with its own way to train; nothing of it is kept.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import StudyDirection

from search.context import StudyContext
from search.job import Job
from search.ranking import losses_of
from search.study_file import StudySpec
from search.trial import begin, end, work
from space.cost import BackboneShape, HeadShape
from space.errors import UserError
from space.replay import params_for, wanted_params
from space.search_space import Learning, SearchSpace
from space.spec import AdapterSpec
from trainers.fit import Tick
from trainers.migration import scaled
from trainers.outline import Outline


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A structure beside another one, and what it gave."""

    structure: str
    """In words."""
    values: tuple[float, ...]
    """Of the objectives."""


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """What a short search around a structure found."""

    n_wanted: int
    inside: bool
    """Whether the structure itself lies in the study's space."""
    complete: tuple[Neighbour, ...]
    """Those that were trained to their end and hold the study's constraints."""
    failed: tuple[str, ...]
    """Why the others were not, a reason each."""
    better: tuple[Neighbour, ...]
    """Those of `complete` that dominate the structure."""


def search_around(
    context: StudyContext,
    spec: AdapterSpec,
    learning: Learning,
    values: Sequence[float],
    n_wanted: int,
    tick: Callable[[int], Tick],
) -> Neighbourhood:
    """Train the structures nearest to one, each as a trial of the study is, and compare them.

    Args:
        context: with a folder of weights of its own, and no pruner.
        spec: the structure.
        learning: how it is trained; its neighbours are trained alike.
        values: what it gave in the study's objectives.
        n_wanted: how many neighbours; fewer where the space has fewer.
        tick: is told which neighbour is trained (from 1), and returns what is told its steps.
    """
    directions = [StudyDirection[way.upper()] for way in context.study.directions]
    stored = optuna.create_study(directions=directions)
    around = neighbours(context.space, spec, learning, context.study.seed)
    for params in itertools.islice(around, n_wanted):
        stored.enqueue_trial(params)
    complete, failed = [], []
    for number in range(1, len(stored.trials) + 1):
        trial = stored.ask()
        job = begin(context, trial, None)
        if isinstance(job, Job):
            outcome = work(context, job, lambda _: True, tick(number))
            job = end(context, trial, job, outcome)
        ended = stored.trials[trial.number]
        if job.kind == "complete":
            structure = AdapterSpec.from_json(ended.user_attrs["spec"]).describe()
            complete.append(Neighbour(structure=structure, values=tuple(ended.values)))
        else:
            failed.append(job.reason)
    return Neighbourhood(
        n_wanted=n_wanted,
        inside=params_for(context.space, spec, learning) is not None,
        complete=tuple(complete),
        failed=tuple(failed),
        better=tuple(n for n in complete if _dominates(n.values, values, directions)),
    )


def _dominates(
    one: Sequence[float], other: Sequence[float], directions: Sequence[StudyDirection]
) -> bool:
    a, b = losses_of(one, directions), losses_of(other, directions)
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def neighbours(
    space: SearchSpace, spec: AdapterSpec, learning: Learning, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the parameters of the structures around one, the nearest first.

    First come those with one parameter changed, in an order that follows from the seed, then those
    with two, and so on. Of a structure outside the space the nearest one inside is the first. How
    they are trained is the same for all.
    """
    draw = random.Random(seed)  # noqa: S311 (an order, not a secret)
    seen = {spec}
    ring = [wanted_params(space, spec, learning)]
    while ring:
        reached = []
        for wanted in ring:
            here = _Nearest(wanted)
            found, _ = space.sample(here)
            if found not in seen:
                seen.add(found)
                yield here.asked
            reached += [wanted | here.asked | step for step in here.steps]
        draw.shuffle(reached)
        ring = []
        for wanted in reached:
            there = _Nearest(wanted)
            found, _ = space.sample(there)
            if found not in seen:
                seen.add(found)
                ring.append(wanted)
                yield there.asked


class _Nearest:
    """A trial that is given what is nearest to the wanted values, and notes the steps from there.

    Args:
        wanted: values by parameter; None, or a parameter that is not there, is any value.
    """

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self.asked: dict[str, Any] = {}
        self.steps: list[dict[str, Any]] = []
        """Other values that lie beside those that were asked for, a step each."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return int(self._answer(name, range(low, high + 1)))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """How a structure is trained is no step away from it."""
        middle = (low * high) ** 0.5 if log else (low + high) / 2
        value = self._wanted.get(name)
        self.asked[name] = min(max(middle if value is None else value, low), high)
        return float(self.asked[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        ordered = all(type(choice) in (int, float) for choice in choices)
        return self._answer(name, sorted(choices) if ordered else choices, ordered=ordered)

    def _answer(self, name: str, choices: Sequence[Any], *, ordered: bool = True) -> Any:
        wanted, place = self._wanted.get(name), 0
        if wanted in choices:
            place = choices.index(wanted)
        elif ordered and wanted is not None:
            place = min(range(len(choices)), key=lambda i: abs(choices[i] - wanted))
        beside = (place - 1, place + 1) if ordered else range(len(choices))
        self.steps += [{name: choices[i]} for i in beside if i != place and 0 <= i < len(choices)]
        self.asked[name] = choices[place]
        return choices[place]


def space_on(
    study: StudySpec, former: Outline, shape: BackboneShape, head: HeadShape
) -> SearchSpace:
    """Return a study's space on another backbone: depths scaled, without what it does not have.

    Args:
        study: whose space was written for the old backbone.
        former: the old backbone.
        shape: the new backbone.
        head: of the study's task.

    Raises:
        UserError: nothing is left of it, or it does not fit.
    """
    own, changes = study.space, dict[str, Any]()
    if own.depth is not None:
        depths = {max(1, scaled(depth, former.n_layers, shape.n_layers)) for depth in own.depth}
        changes["depth"] = tuple(sorted(depths))
    if own.roles is not None:
        changes["roles"] = tuple(role for role in own.roles if role in shape.roles)
    if own.kinds is not None and not shape.takes_prefix:
        changes["kinds"] = tuple(kind for kind in own.kinds if kind != "prefix")
    if not shape.gathers_tokens:
        changes |= {"token_keep": None, "skip_layers": None}
    mapped = study.model_copy(update={"space": own.model_copy(update=changes)})
    try:
        return mapped.search_space(shape, head)
    except UserError as error:
        raise UserError(
            [
                "--search: the study's space cannot be put on the new backbone:"
                f" {problem} Leave --search out, or write a space for it in the study file."
                for problem in error.problems
            ]
        ) from error
