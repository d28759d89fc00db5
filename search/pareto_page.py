"""The Pareto front of a study as a page that needs no network, and as CSV.

The figure is drawn in a light palette; the page lays a style sheet over it that follows the
reader's light or dark setting. All text that a user chose is escaped.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from html import escape

from search.baselines import baseline_title
from search.figures import (
    CONFIG,
    Directions,
    Names,
    Trials,
    learning_rate_of,
    pareto_figure,
)
from search.front import knee, pareto_front, structure
from search.lineage import RESUMES
from search.objectives import formatted, title_of

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: Pareto front</title>
<style>
:root {{ color-scheme: light dark; --paper: #ffffff; --ink: #24292f; --muted: #636c76;
  --line: #d5d9de; --grid: #e8eaed; --panel: #ffffff; --mark: #fdf0f4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #14171c; --ink: #e6e9ee;
  --muted: #9aa4b2; --line: #3d444f; --grid: #272c34; --panel: #1f242c; --mark: #35202a; }} }}
body {{ margin: 0; padding: 18px 24px 28px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
h1 {{ font-size: 20px; margin: 0; }} h2 {{ font-size: 15px; margin: 14px 0 4px; }}
p {{ margin: 2px 0 6px; color: var(--muted); }}
.plot {{ height: clamp(360px, 64vh, 620px); }}
.table {{ overflow-x: auto; }} table {{ width: 100%;
  border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: 5px 14px 5px 6px; border-bottom: 1px solid var(--line); }}
th {{ color: var(--muted); font-weight: 600; font-size: 13px; vertical-align: bottom; }}
th:nth-last-child(n+3), td:nth-last-child(n+3) {{ text-align: right; }}
tr.knee td {{ background: var(--mark); }}
.plot .main-svg {{ background: transparent !important; }}
.plot .bg {{ fill: transparent !important; }} .plot text {{ fill: var(--ink) !important; }}
.plot .gridlayer path {{ stroke: var(--grid) !important; }}
.plot .xlines-above, .plot .ylines-above {{ stroke: var(--line) !important; }}
.plot .hovertext path {{ fill: var(--panel) !important; stroke: var(--line) !important; }}
.plot .modebar, .plot .modebar-group {{ background: transparent !important; }}
.plot .modebar-btn path {{ fill: var(--muted) !important; }}
</style></head>
<body><h1>{title}</h1><p>{summary}</p>
{body}
</body></html>
"""


def pareto_html(trials: Trials, directions: Directions, names: Names, title: str) -> str:
    """Return the figure and a table of the front as one page, plotly.js inside (4.7 MB)."""
    front = pareto_front(trials, directions)
    body = "<h2>No trial is complete yet, so there is no front to draw.</h2>"
    if front:
        figure = pareto_figure(trials, directions, names)
        size = {"full_html": False, "default_height": "100%", "div_id": "pareto"}
        plot = figure.to_html(include_plotlyjs=True, config=CONFIG, **size)
        body = f'<div class="plot">{plot}</div>\n{_table(front, directions, names)}'
    return _PAGE.format(title=escape(title), summary=escape(_summary(trials)), body=body)


def pareto_csv(trials: Trials, directions: Directions, names: Names) -> str:
    """Return the front as CSV, cheapest first: objectives, structure, and every metric.

    Numbers are written in full; a metric that a trial does not have is an empty cell.
    """
    front = pareto_front(trials, directions)
    chosen = knee(front, directions) if front else None
    metrics = {name for trial in front for name in trial.user_attrs.get("metrics", {})}
    head = ["trial", *names, "knee", "baseline", "structure", "learning_rate"]
    columns = [*head, *sorted(metrics - set(head)), "spec"]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    for trial in front:
        attrs = trial.user_attrs
        table.writerow(
            attrs.get("metrics", {})
            | dict(zip(names, trial.values, strict=True))
            | {
                "trial": trial.number,
                "knee": "yes" if trial is chosen else "",
                "baseline": attrs.get("baseline", ""),
                "structure": structure(trial),
                "learning_rate": attrs.get("learning", {}).get("learning_rate", ""),
                "spec": attrs.get("spec", ""),
            }
        )
    return text.getvalue()


def _summary(trials: Trials) -> str:
    ends = Counter(t.user_attrs.get("end", t.state.name.lower()) for t in trials)
    counts = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    return f"{len(trials)} trial{'s' * (len(trials) != 1)}: {counts}" if trials else "No trial yet."


def _table(front: Trials, directions: Directions, names: Names) -> str:
    chosen = knee(front, directions)
    head = ["trial", *map(title_of, names), "learning rate", "structure", "note"]
    rows = []
    for trial in front:
        notes = ["knee"] if trial is chosen else []
        if "baseline" in trial.user_attrs:
            notes.append(f"baseline: {baseline_title(trial.user_attrs['baseline'])}")
        if RESUMES in trial.user_attrs:
            notes.append(f"goes on with trial {trial.user_attrs[RESUMES]}")
        values = map(formatted, names, trial.values)
        cells = [
            str(trial.number),
            *values,
            learning_rate_of(trial),
            structure(trial),
            ", ".join(notes),
        ]
        rows.append(f"<tr{' class=knee' * (trial is chosen)}>{_cells('td', cells)}</tr>")
    return (
        f'<h2>The Pareto front</h2><div class="table"><table><thead><tr>{_cells("th", head)}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
