"""Which points are confirmed: chosen ones of the front, the study's baselines, and references.

Beside each chosen structure with experts stands its plain counterpart, with as many parameters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.baselines import baseline_title
from search.front import pareto_front, structure, trained
from search.objectives import SHARES
from search.plain_twin import SUFFIX, has_experts
from search.ranking import losses_of
from search.references import FULL, REFERENCES, TFIDF
from search.row_sums import ROW_METRICS
from search.selection import select
from search.study_file import StudySpec
from search.tables import counts, counts_in_words
from space.errors import UserError
from space.spec import AdapterSpec
from trainers.tfidf import serves

NEAR = 0.01
"""How much worse than the best `near_best` may be: a point of percent, else a share of the best."""


_KNEE, _BEST, _CHEAPEST = _USUAL = ("knee", "best", "cheapest")
"""How the marks of the default choices begin."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What is trained on every seed."""

    key: str
    title: str
    trial: FrozenTrial | None
    """None: a reference, or a plain counterpart."""
    marks: tuple[str, ...] = ()
    """Why it was chosen."""
    plain_of: FrozenTrial | None = None
    """The trial with experts whose plain counterpart it is (search/plain_twin.py)."""

    @property
    def baseline(self) -> str | None:
        """The name of a baseline or reference, else None."""
        return self.key if self.trial is None else self.trial.user_attrs.get("baseline")

    def about(self, metric: str) -> dict[str, Any]:
        """Return what is kept of it beside its trainings (see search/confirmed.py)."""
        trial = self.trial
        return {
            "title": self.title,
            "trial": None if trial is None else trial.number,
            "baseline": self.baseline,
            "marks": list(self.marks),
            "search_score": None if trial is None else trial.user_attrs["metrics"].get(metric),
            "structure": "" if trial is None else structure(trial),
        }


def compared_metric(study: StudySpec) -> str:
    """Return the metric that differences are tested in: the first objective that rows make."""
    names = (*study.objective_names, *study.what.metrics)
    return next(name for name in names if name in study.what.metrics and name in ROW_METRICS)


def points_of(
    stored: optuna.Study,
    study: StudySpec,
    choices: Sequence[str],
    *,
    full_fine_tuning: bool,
    tfidf: bool,
) -> list[Point]:
    """Return what is confirmed, chosen points first; each trial once.

    Args:
        stored: the study.
        study: its file.
        choices: what `--select` takes; none: the knee, the best in the first objective, and the
            cheapest that is nearly as good.
        full_fine_tuning: whether it is among them.
        tfidf: whether it is, where the task is one of texts with classes.

    Raises:
        UserError: no trial is complete, or nothing fits a choice.
    """
    trials = stored.get_trials(deepcopy=False)
    if not trained(trials):
        found = counts_in_words(counts(stored)) or "it has no trial yet"
        raise UserError(
            f"The study {study.name!r} has no complete trial ({found}), so there is nothing to"
            " confirm. Let `paradapt search` train more, or set `pruner: none`."
        )
    marks: dict[int, list[str]] = {}
    for mark, trial in _chosen(trials, stored.directions, study.objective_names, choices):
        marks.setdefault(trial.number, []).append(mark)
    points = [_point(trials[number], tuple(own)) for number, own in marks.items()]
    points += [_plain(point.trial) for point in points if point.trial and _sparse(point.trial)]
    for trial in _baselines(trials):
        if trial.number not in marks:
            points.append(_point(trial, ()))
    references = {FULL: full_fine_tuning, TFIDF: tfidf and serves(study.what)}
    return points + [
        Point(key=name, title=REFERENCES[name], trial=None)
        for name, wanted in references.items()
        if wanted
    ]


def _point(trial: FrozenTrial, marks: tuple[str, ...]) -> Point:
    name = trial.user_attrs.get("baseline")
    title = f"trial {trial.number}" if name is None else baseline_title(name)
    return Point(key=name or f"trial-{trial.number}", title=title, trial=trial, marks=marks)


def _sparse(trial: FrozenTrial) -> bool:
    return has_experts(AdapterSpec.from_json(trial.user_attrs["spec"]))


def _plain(trial: FrozenTrial) -> Point:
    return Point(
        key=f"trial-{trial.number}{SUFFIX}",
        title=f"trial {trial.number} with plain adapters",
        trial=None,
        plain_of=trial,
    )


def _baselines(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the baselines that can be trained, the last of each name.

    Also those that the study's constraints rule out: one wants to know what these cost.
    """
    found = {
        trial.user_attrs["baseline"]: trial
        for trial in trials
        if "baseline" in trial.user_attrs
        and "same_as" not in trial.user_attrs
        and trial.user_attrs.get("end") in ("complete", "infeasible")
    }
    return list(found.values())


def usual_marks(stored: optuna.Study, study: StudySpec) -> dict[int, tuple[str, ...]]:
    """Return which trials are the knee, the best and the cheapest that is nearly as good now."""
    trials = stored.get_trials(deepcopy=False)
    marks: dict[int, tuple[str, ...]] = {}
    for mark, trial in _chosen(trials, stored.directions, study.objective_names, ()):
        marks[trial.number] = (*marks.get(trial.number, ()), mark)
    return marks


def marks_now(marks: Iterable[str], usual: Sequence[str]) -> tuple[str, ...]:
    """Return the marks of a point as they are right by now, each once.

    Args:
        marks: that it was given, now or by earlier commands.
        usual: the usual ones (`usual_marks`) that it has now. What it has lost, as the search went
            on, becomes an earlier one.
    """
    found = dict.fromkeys(usual)
    for mark in marks:
        lost = mark.startswith(_USUAL) and mark not in usual
        found.setdefault(f"earlier {mark}" if lost else mark)
    return tuple(found)


def _chosen(
    trials: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    names: Sequence[str],
    choices: Sequence[str],
) -> list[tuple[str, FrozenTrial]]:
    """Return (why, trial) for each choice."""
    if choices:
        return [(choice, select(trials, directions, names, choice)) for choice in choices]
    near = f"{_CHEAPEST} within {'1 point' if names[0] in SHARES else '1 %'} of the best"
    return [
        (_KNEE, select(trials, directions, names, "knee")),
        (f"{_BEST} {names[0]}", select(trials, directions, names, names[0])),
        (near, near_best(pareto_front(trials, directions), directions, names)),
    ]


def near_best(
    front: Sequence[FrozenTrial], directions: Sequence[StudyDirection], names: Sequence[str]
) -> FrozenTrial:
    """Return the cheapest point of the front that is at most NEAR worse than its best.

    In the first objective: a point of percent where that is a share, else so great a share of the
    best. The cheapest is the best in the last objective.

    Args:
        front: at least one trial.
        directions: of the objectives.
        names: of the objectives.
    """
    losses = {trial.number: losses_of(trial.values, directions) for trial in front}
    best = min(loss[0] for loss in losses.values())
    allowed = NEAR if names[0] in SHARES else NEAR * abs(best)
    # A hair wider, so that exactly one point worse is within.
    near = [trial for trial in front if losses[trial.number][0] <= best + allowed * (1 + 1e-9)]
    return min(near, key=lambda trial: (losses[trial.number][-1], losses[trial.number][0]))
