"""All texts of the report, in every language, from one table (texts.yaml).

A text holds names in braces where facts go, and no number of its own: each number on the page
comes from somewhere.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Formatter
from typing import Literal, get_args

from search.report.facts import Fact
from search.yaml_text import parse_yaml

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True)
class Code:
    """A command, a key or a file, shown as it is typed."""

    text: str


Piece = str | Fact | Code
Rich = tuple[Piece, ...]
"""A text with its facts in place."""


def rich(value: "Rich | Piece") -> Rich:
    """Return anything that may stand in a text as pieces."""
    return value if isinstance(value, tuple) else (value,)


@cache
def table() -> dict[str, dict[str, str]]:
    """Return every text by its key and language."""
    text = resources.files("search.report").joinpath("texts.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = parse_yaml(text)
    return found


@dataclass(frozen=True)
class Texts:
    """The texts in one language."""

    language: Language

    def __call__(self, key: str, **values: "Rich | Piece") -> Rich:
        """Return a text, facts and other texts filled in for the names in braces."""
        pieces: list[Piece] = []
        for literal, name, _, _ in Formatter().parse(table()[key][self.language]):
            pieces.extend(_with_code(literal))
            if name is not None:
                pieces.extend(rich(values[name]))
        return tuple(pieces)

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in table()

    def word(self, key: str) -> str:
        """Return a text that holds no fact."""
        return table()[key][self.language]

    def join(self, parts: "list[Rich]", key: str = "list.comma") -> Rich:
        """Return texts one after the other, parted as the language parts them."""
        pieces: list[Piece] = []
        for index, part in enumerate(parts):
            pieces.extend([self.word(key)] if index else [])
            pieces.extend(part)
        return tuple(pieces)


def _with_code(text: str) -> list[Piece]:
    """Return a text with what stands between backticks as code."""
    parts = enumerate(text.split("`"))
    return [Code(part) if index % 2 else part for index, part in parts if part]


def sentence(text: Rich) -> Rich:
    """Return a text that begins with a capital letter, where it begins with a word of ours."""
    match text:
        case (str(first), *rest) if first.isascii() and first.partition(" ")[0].islower():
            return (first[0].upper() + first[1:], *rest)
    return text
