"""Pieces of the page. All of them escape what they are given, unless it is Markup already."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

MAX_TEXT = 320
"""Characters of a row's text that are shown."""

_VOID = ("img", "meta")  # elements that are not closed
_WIDE = 120  # characters of the names of all columns


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """Return an element; attributes that are None are left out.

    Of their names a last underscore (`class_`) is dropped, others become hyphens (`text_anchor`).
    """
    spelled = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    ]
    opened = Markup("<{}{}>").format(name, Markup("").join(spelled))
    if name in _VOID:
        return opened
    return opened + Markup("").join(content) + Markup("</{}>").format(name)


def joined(parts: Iterable[Any]) -> Markup:
    """Return parts one after the other."""
    return Markup("").join(parts)


def section(anchor: str, title: str, *content: Any) -> Markup:
    """Return a part of the page with its heading."""
    return tag("section", tag("h2", title), *content, id=anchor)


def paragraph(text: Any, kind: str | None = None) -> Markup:
    """Return a paragraph; `kind` is its class."""
    return tag("p", text, class_=kind)


def note(text: Any) -> Markup:
    """Return a paragraph that explains."""
    return paragraph(text, "note")


def items(texts: Iterable[Any]) -> Markup:
    """Return a list."""
    return tag("ul", joined(tag("li", text) for text in texts))


def table(
    head: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    classes: Sequence[str] = (),
    wide: bool = False,
) -> Markup:
    """Return a table; `classes` are those of its columns: `n` numbers, `text` long texts."""
    kinds = [*classes, *[""] * (len(head) - len(classes))]

    def cells(name: str, row: Sequence[Any]) -> Markup:
        return joined(tag(name, c, class_=k or None) for c, k in zip(row, kinds, strict=True))

    body = joined(tag("tr", cells("td", row)) for row in rows)
    made = tag(
        "table",
        tag("thead", tag("tr", cells("th", head))),
        tag("tbody", body),
        class_="wide" if wide else None,
    )
    return tag("div", made, class_="scroll")


def heat_map(
    corner: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float]]],
    *,
    high: float | None = None,
    shown: Any = None,
    own: bool = False,
) -> Markup:
    """Return a table whose cells are the darker, the greater their value.

    Args:
        corner: what rows and columns are.
        columns: their names.
        rows: name and values of each; NaN is an empty cell.
        high: the value of the darkest cell; None: the greatest.
        shown: value -> what stands in the cell; None: percent.
        own: whether to outline the diagonal.
    """
    known = [v for _, values in rows for v in values if math.isfinite(v)]
    top = high if high is not None else max(known, default=0.0)
    shown = shown or percent

    def cell(value: float, outlined: bool) -> Markup:
        if not math.isfinite(value):
            return tag("td", "", class_="none")
        share = min(max(value / top, 0.0), 1.0) if top > 0 else 0.0
        return tag("td", shown(value), style=f"--v:{share:.3f}", class_="own" if outlined else None)

    body = joined(
        tag(
            "tr",
            tag("th", name),
            *(cell(value, own and i == j) for j, value in enumerate(values)),
        )
        for i, (name, values) in enumerate(rows)
    )
    head = tag("tr", tag("th", corner), *(tag("th", column) for column in columns))
    # Long names stand upright, so that the map stays on the page.
    tall = sum(len(column) + 3 for column in columns) > _WIDE
    made = tag(
        "table",
        tag("thead", head),
        tag("tbody", body),
        class_="heat tall" if tall else "heat",
    )
    return tag("div", made, class_="scroll")


def percent(share: float) -> str:
    """Return a share as whole percent; nothing where it is none."""
    return f"{share:.0%}" if math.isfinite(share) else ""


def number(value: float) -> str:
    """Return a number with three digits, zeros at the end too; a dash where it is none."""
    return f"{value:#.3g}".rstrip(".") if math.isfinite(value) else "-"


def cut(text: str, n: int = MAX_TEXT) -> str:
    """Return a text that is cut where it is very long."""
    return text if len(text) <= n else text[: n - 1].rstrip() + "…"


def bar(share: float, kind: str = "") -> Markup:
    """Return a bar of a share of 110 pixels; `kind` are more classes of it."""
    width = round(max(min(share, 1.0), 0.0) * 110)
    return tag("span", "", class_=f"bar {kind}".strip(), style=f"width:{width}px")
