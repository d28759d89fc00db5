"""The Pareto front of a study as a page, and as CSV."""

import csv
import io
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from search.baselines import baseline_title
from search.front import structure
from search.lineage import RESUMES
from search.objectives import formatted, title_of
from search.pages.hover import learning_rate_of
from search.pages.pareto_figure import pareto_figure
from search.pages.shell import heading, html_table, page, paragraph, plot
from search.pages.words import in_numbers
from search.snapshot import StudySnapshot

NOTHING = "No trial is complete yet, so there is no front to draw."


def pareto_html(snapshot: StudySnapshot) -> str:
    """Return the figure and a table of the front as one page."""
    parts = [paragraph(NOTHING)]
    if snapshot.front:
        parts = [
            plot(pareto_figure(snapshot), "pareto", "clamp(420px, 64vh, 620px)"),
            heading("The Pareto front"),
            _table(snapshot),
        ]
    return page(snapshot.study_name, "Pareto front", in_numbers(snapshot), *parts)


def pareto_csv(snapshot: StudySnapshot) -> str:
    """Return the front as CSV, cheapest first: objectives, structure, and every metric.

    Numbers are written in full; a metric that a trial does not have is an empty cell.
    """
    front = snapshot.front
    metrics = {name for trial in front for name in trial.user_attrs.get("metrics", {})}
    head = ["trial", *snapshot.names, "knee", "baseline", "structure", "learning_rate"]
    columns = [*head, *sorted(metrics - set(head)), "spec"]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    for trial in front:
        attrs = trial.user_attrs
        table.writerow(
            attrs.get("metrics", {})
            | dict(zip(snapshot.names, trial.values, strict=True))
            | {
                "trial": trial.number,
                "knee": "yes" if trial is snapshot.knee else "",
                "baseline": attrs.get("baseline", ""),
                "structure": structure(trial),
                "learning_rate": attrs.get("learning", {}).get("learning_rate", ""),
                "spec": attrs.get("spec", ""),
            }
        )
    return text.getvalue()


def notes_on(snapshot: StudySnapshot, trial: FrozenTrial) -> list[str]:
    """Return what a table says beside a trial: knee, baseline, exported, what it goes on with."""
    notes = ["knee"] if trial is snapshot.knee else []
    if trial.number == snapshot.chosen:
        notes.append("exported last")
    if "baseline" in trial.user_attrs:
        notes.append(f"baseline: {baseline_title(trial.user_attrs['baseline'])}")
    if RESUMES in trial.user_attrs:
        notes.append(f"goes on with trial {trial.user_attrs[RESUMES]}")
    return notes


def _table(snapshot: StudySnapshot) -> str:
    names = snapshot.names
    head = ["trial", *map(title_of, names), "learning rate", "structure", "note"]
    rows: list[Sequence[str]] = [
        [
            str(trial.number),
            *map(formatted, names, trial.values),
            learning_rate_of(trial),
            structure(trial),
            ", ".join(notes_on(snapshot, trial)),
        ]
        for trial in snapshot.front
    ]
    marked = next(i for i, trial in enumerate(snapshot.front) if trial is snapshot.knee)
    return html_table(head, rows, n_right=len(names) + 2, marked=marked)
