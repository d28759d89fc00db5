"""The index of an exported front: index.html and README.md, which tell one point from another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from optuna.study import StudyDirection

from search.explanation.html import joined, number, paragraph, table, tag
from search.explanation.style import STYLE
from search.objectives import formatted
from search.pages.style import better
from trainers.bundle import CARD

INDEX = "index.html"

_STYLE = f"""{STYLE}
td .tag {{ display: inline-block; margin: 0 4px 2px 0; padding: 0 7px; border-radius: 9px;
  border: 1px solid var(--line); background: var(--panel); font-size: 12px; white-space: nowrap; }}
td .tag.knee {{ border-color: var(--heat); color: var(--heat); font-weight: 600; }}
td:first-child {{ min-width: 170px; }} td p {{ margin: 0; }}
"""


@dataclass(frozen=True, kw_only=True)
class ExportedPoint:
    """One point of the front: exported, or refused with a reason."""

    number: int
    """Of its trial."""
    name: str
    """Of its folder."""
    titles: tuple[str, ...]
    """What it is: `knee`, `best accuracy`, a baseline's name; none for a point between."""
    values: tuple[float, ...]
    """Of the objectives."""
    structure: str
    """In words."""
    proof: Mapping[str, Any]
    """Of proof.json; empty where it is refused."""
    refused: str | None
    """Why the format cannot express it."""


@dataclass(frozen=True, kw_only=True)
class FrontIndex:
    """What the index tells."""

    study: str
    task: str
    backbone: str
    form: str
    """The format's name."""
    names: tuple[str, ...]
    """Of the objectives."""
    directions: tuple[StudyDirection, ...]
    points: tuple[ExportedPoint, ...]
    """Cheapest first."""

    @property
    def exported(self) -> list[ExportedPoint]:
        """The points that have a folder."""
        return [point for point in self.points if point.refused is None]

    @property
    def refused(self) -> list[ExportedPoint]:
        """The points that the format cannot express."""
        return [point for point in self.points if point.refused is not None]


_MEASURED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "latency (ms)": lambda proof: number(proof["latency_ms"]),
    "size (MiB)": lambda proof: number(proof["size_mib"]),
    "differs by": lambda proof: f"{proof['largest_difference']:.1g}",
    "can be served by": lambda proof: ", ".join(
        place for place, verdict in proof["served"].items() if verdict["served"]
    ),
}
"""Columns of what was measured of each export."""

_NUMBERS = 3
"""How many of these are numbers; they come first."""


def index_html(index: FrontIndex) -> str:
    """Return the page: one file without scripts, which needs no network."""
    title = f"{index.study}: the front"
    head = joined(
        [
            tag("meta", charset="utf-8"),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Markup(_STYLE)),  # noqa: S704  # ours
        ]
    )
    body = joined(
        [
            tag("h1", title),
            paragraph(_summary(index)),
            _points_table(index),
            paragraph(_legend(index), "note"),
            _refused_table(index) if index.refused else "",
        ]
    )
    page = tag("html", tag("head", head), tag("body", body), lang="en")
    return str(Markup("<!doctype html>\n") + page) + "\n"


def _points_table(index: FrontIndex) -> Markup:
    rows = [
        [
            _linked(point),
            *_scores(index, point),
            *(show(point.proof) for show in _MEASURED.values()),
            point.structure,
        ]
        for point in index.exported
    ]
    n_numbers = len(index.names) + _NUMBERS
    header = ["point", *_objectives(index), *_MEASURED, "structure"]
    return table(header, rows, ["", *["n"] * n_numbers, "", "text"], wide=True)


def _refused_table(index: FrontIndex) -> Markup:
    rows = [
        [_named(point), *_scores(index, point), point.refused, point.structure]
        for point in index.refused
    ]
    kinds = ["", *["n"] * len(index.names), "text", "text"]
    header = ["point", *_objectives(index), "why", "structure"]
    return tag("h2", f"Not expressible as {index.form}") + table(header, rows, kinds, wide=True)


def _linked(point: ExportedPoint) -> Markup:
    link = tag("a", f"trial {point.number}", href=f"{point.name}/")
    return link + _tags(point)


def _named(point: ExportedPoint) -> Markup:
    return tag("span", f"trial {point.number}") + _tags(point)


def _tags(point: ExportedPoint) -> Markup:
    tags = [
        tag("span", title, class_="tag knee" if title == "knee" else "tag")
        for title in point.titles
    ]
    return paragraph(joined(tags)) if tags else Markup("")


def _scores(index: FrontIndex, point: ExportedPoint) -> list[str]:
    return [formatted(n, v) for n, v in zip(index.names, point.values, strict=True)]


def _objectives(index: FrontIndex) -> list[str]:
    return [better(name, index.names, index.directions) for name in index.names]


def _summary(index: FrontIndex) -> str:
    n_points, n_exported = len(index.points), len(index.exported)
    which = "All" if n_exported == n_points else f"{n_exported} of the"
    return (
        f"{which} {n_points} points of the Pareto front of the study {index.study!r}"
        f" ({index.task} on {index.backbone}), exported as {index.form}, cheapest first. None of"
        " them is better than another in every objective: take the cheapest that is good enough."
    )


def _legend(index: FrontIndex) -> str:
    return (
        "The knee gives up least of every objective. Scores are of the validation rows that the"
        " search itself looked at, so they are somewhat too good. Latency (batch 1, median) and"
        ' size are of the exported form, on the machine that wrote it; "differs by" is the largest'
        f" difference of a logit from the trained model's on held-out rows. Each folder's {CARD}"
        " tells how it is used, and its proof.json has all figures. SHA256SUMS covers every file."
    )


def index_markdown(index: FrontIndex) -> str:
    """Return the same as README.md."""
    header = ["point", "what it is", *_objectives(index), *_MEASURED, "structure"]
    rows = [
        [
            f"[{point.name}]({point.name}/{CARD})",
            ", ".join(point.titles),
            *_scores(index, point),
            *(show(point.proof) for show in _MEASURED.values()),
            point.structure,
        ]
        for point in index.exported
    ]
    parts = [f"# {index.study}: the front", _summary(index), _as_markdown(header, rows)]
    parts.append(_legend(index))
    if index.refused:
        parts.append(f"## Not expressible as {index.form}")
        header = ["trial", *_objectives(index), "why", "structure"]
        rows = [
            [str(point.number), *_scores(index, point), point.refused or "", point.structure]
            for point in index.refused
        ]
        parts.append(_as_markdown(header, rows))
    return "\n\n".join(parts) + "\n"


def _as_markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
