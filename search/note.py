"""The parent run's description in Markdown: a page that says what was asked and what was found."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.baselines import baseline_title
from search.front import structure
from search.objectives import SHARES, formatted, title_of
from search.pages.pareto import notes_on
from search.pages.words import in_numbers
from search.ranking import losses_of
from search.snapshot import StudySnapshot

_MAX_ROWS, _MAX_STRUCTURE, _MAX_CLASSES = 20, 120, 12
_FIGURES = (
    "pareto.html, hypervolume.html, importance.html, sensitivity.html, parallel.html, layers.html,"
    " pruning.html, timeline.html"
)


def note(snapshot: StudySnapshot, *, view: str = "") -> str:
    """Return the description.

    Args:
        snapshot: the study.
        view: address of the trials' table and chart on the same server, "" for none.
    """
    parts = [
        f"## {_plain(snapshot.question)}" if snapshot.question else "",
        in_numbers(snapshot),
        _recommended(snapshot),
        _front(snapshot),
        _baselines(snapshot),
        _confirmed(snapshot),
        _data(snapshot.datasets),
        _further(view),
        _next(snapshot.next_commands),
    ]
    return "\n\n".join(filter(None, parts))


def _recommended(snapshot: StudySnapshot) -> str:
    point = snapshot.knee
    if point is None:
        return "No trial is complete yet."
    values = ", ".join(
        f"{_plain(title_of(name))} **{formatted(name, value)}**"
        for name, value in zip(snapshot.names, point.values, strict=True)
    )
    text = (
        f"### Recommended: trial {point.number}\n\n{values}: {_plain(structure(point))}.\n\nIt is"
        " the knee of the front: of all points it gives up least of every objective, each measured"
        " by its range over the front."
    )
    return "\n\n".join([text, *_against(snapshot, point)])


def _against(snapshot: StudySnapshot, point: FrozenTrial) -> list[str]:
    """What going from the best first objective, and from the baselines, to the point changes."""
    best = min(snapshot.front, key=lambda t: losses_of(t.values, snapshot.directions)[0])
    first = without_unit(snapshot.names[0])
    others = [(f"trial {best.number}, the best in {first}", best)]
    others += [
        (f"trial {t.number}, {baseline_title(t.user_attrs['baseline'])}", t)
        for t in snapshot.trained
        if "baseline" in t.user_attrs and t is not best
    ]
    lines = [
        f"- against {_plain(what)}: {_difference(snapshot, point, other)}"
        for what, other in others
        if other is not point
    ]
    return ["\n".join(lines)] if lines else []


def _difference(snapshot: StudySnapshot, point: FrozenTrial, other: FrozenTrial) -> str:
    parts = []
    for name, own, theirs in zip(snapshot.names, point.values, other.values, strict=True):
        what = _plain(without_unit(name))
        if name in SHARES:
            parts.append(f"{100 * (own - theirs):+.2f} points of {what}")
        elif theirs:
            parts.append(f"{own / theirs:.0%} of its {what}")
        else:
            parts.append(f"{own - theirs:+.4g} of {what}")
    return ", ".join(parts)


def _front(snapshot: StudySnapshot) -> str:
    if not snapshot.front:
        return ""
    shown = snapshot.front[:_MAX_ROWS]
    text = f"### The Pareto front\n\n{_trials(snapshot, shown)}"
    left = len(snapshot.front) - len(shown)
    return f"{text}\n\n... and {left} more, see `pareto.csv`." if left else text


def _baselines(snapshot: StudySnapshot) -> str:
    on_front = {trial.number for trial in snapshot.front}
    others = [
        trial
        for trial in snapshot.trained
        if "baseline" in trial.user_attrs and trial.number not in on_front
    ]
    if not others:
        return ""
    return f"### Baselines that are not on the front\n\n{_trials(snapshot, others)}"


def _trials(snapshot: StudySnapshot, trials: Sequence[FrozenTrial]) -> str:
    head = ["trial", *map(title_of, snapshot.names), "structure", ""]
    rows = []
    for trial in trials:
        notes = ", ".join(notes_on(snapshot, trial)).replace("knee", "**knee**")
        words = structure(trial)
        if len(words) > _MAX_STRUCTURE:
            words = f"{words[: _MAX_STRUCTURE - 1]}…"
        rows.append(
            [str(trial.number), *map(formatted, snapshot.names, trial.values), words, notes]
        )
    return _table(head, rows, n_right=1 + len(snapshot.names))


def _confirmed(snapshot: StudySnapshot) -> str:
    if not snapshot.confirmed:
        return ""
    tested = snapshot.tested
    rows = []
    for point in snapshot.confirmed:
        low, high = (formatted(tested, bound) for bound in point.interval(tested))
        mean = formatted(tested, point.mean(tested))
        rows.append([point.title, mean, f"{low} to {high}", str(len(point.runs))])
    head = ["point", f"{tested} on the test split", "95 %", "seeds"]
    return f"### Confirmed on rows that no search has seen\n\n{_table(head, rows, n_right=0)}"


def _data(datasets: Sequence[Mapping[str, Any]]) -> str:
    if not datasets:
        return ""
    rows = [
        [
            str(side["context"]),
            f"{side['n_rows']:,}",
            f"`{str(side['fingerprint'])[:12]}`",
            _classes(side.get("classes") or {}),
        ]
        for side in datasets
    ]
    head = ["rows of", "how many", "fingerprint", "classes"]
    source = f"From {_plain(str(datasets[0]['source']))}."
    return f"### The data\n\n{source}\n\n{_table(head, rows, n_right=0)}"


def _classes(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{name} {n}" for name, n in shown[:_MAX_CLASSES])
    left = len(shown) - _MAX_CLASSES
    return f"{len(shown)}: {words}" + (f" and {left} more" if left > 0 else "")


def _further(view: str) -> str:
    text = f"### Figures\n\nAmong the artifacts: {_FIGURES}; `pareto.csv` and `study.yaml`."
    if view:
        text += f" [All trials as a table, and accuracy against cost as a chart]({view})."
    return text


def _next(commands: Sequence[str]) -> str:
    return "### Next\n\n```\n" + "\n".join(commands) + "\n```" if commands else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, n_right: int) -> str:
    rules = ["---:" if index < n_right else "---" for index in range(len(head))]
    lines = [map(_plain, head), rules, *(map(_plain, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def without_unit(name: str) -> str:
    """Return what a metric measures, without its unit."""
    return title_of(name).partition(" (")[0].partition(",")[0]


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is: no cell ends in it, no tag begins."""
    return text.replace("|", "/").replace("<", "&lt;")
