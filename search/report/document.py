"""What a report is made of, without any form: sections of paragraphs, tables, figures."""

from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from search.report.texts import Rich

Tone = Literal["plain", "lead", "strong", "note", "missing"]
"""A lead opens a part, a note explains what it stands below; `missing` says what is not there."""


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Running text."""

    text: Rich
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """A list."""

    items: tuple[Rich, ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number that a reader should take away."""

    label: Rich
    value: Rich
    note: Rich = ()


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """The numbers that a reader should take away."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a header. The first columns are texts, the others numbers, to the right."""

    head: tuple[Rich, ...]
    rows: tuple[tuple[Rich, ...], ...]
    n_text: int = 1
    """How many columns, from the left, are texts."""
    last_is_text: bool = False
    marked: frozenset[int] = field(default_factory=frozenset)
    """Rows that stand out."""
    caption: Rich = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing."""

    svg: Markup
    caption: Rich
    table: Table | None = None
    """Its numbers, for where there are no drawings; None where a table stands beside it anyway."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Text as it is in a file or on a terminal."""

    text: str


Block = Paragraph | Bullets | Tiles | Table | Figure | Listing


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report under its own title."""

    name: str
    title: Rich
    blocks: tuple[Block, ...]
    level: Literal[2, 3] = 2


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report."""

    title: Rich
    subtitle: Rich
    sections: tuple[Section, ...]
