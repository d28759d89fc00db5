"""CoNLL files: one word a line, its tag in the last column, a blank line between sentences."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from space.errors import UserError
from trainers.data.formats import is_unicode, not_utf8

SUFFIXES = (".conll", ".txt")
_DOCUMENT = "-DOCSTART-"
_BLANKS = re.compile(r"[ \t]+")

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Words with their tags; no tags where the file has a single column."""

    words: Words
    tags: Words
    row: int
    """Number in the file, from 1."""
    line: int
    """Line of its first word, from 1, each further word one line below; 0 where it is no CoNLL."""


def read_conll(path: Path, where: str) -> Iterator[Sentence]:
    """Read the sentences of a file, columns parted by tabs or, where there are none, by blanks.

    Args:
        path: in UTF-8.
        where: what the user wrote the path under, for messages.

    Raises:
        UserError: a line has another number of columns than the first one, an empty column, or is
            not UTF-8.
    """
    block: list[list[str]] = []
    n_columns = row = number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                fields = _fields(line)
                if not fields or fields[0] == _DOCUMENT:
                    if block:
                        row += 1
                        yield _sentence(block, row, number - len(block))
                        block = []
                    continue
                n_columns = n_columns or len(fields)
                _check_line(line, fields, n_columns, f"{where}: `{path}`, line {number},")
                block.append(fields)
    except UnicodeDecodeError as error:
        raise not_utf8(path, where) from error
    if block:
        yield _sentence(block, row + 1, number + 1 - len(block))


def _fields(line: str) -> list[str]:
    """Part a line; a blank that is no ASCII one, as some texts have, is part of a word."""
    if not line.strip():
        return []
    line = line.rstrip("\r\n")
    if "\t" in line:
        return [field.strip(" ") for field in line.split("\t")]
    return _BLANKS.split(line.strip(" "))


def _check_line(line: str, fields: list[str], n_columns: int, place: str) -> None:
    if len(fields) != n_columns:
        has = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
        raise UserError(
            f"{place} has {has}, but the first has {n_columns}: {line.strip()[:60]!r}. Part columns"
            " by tabs, and sentences by blank lines."
        )
    for what, field in (("word", fields[0]), ("tag", fields[-1])):
        if not field:
            raise UserError(
                f"{place} has an empty {what}: {line.rstrip()[:60]!r}. The first column is a word,"
                " the last one its tag, and a blank line parts sentences."
            )


def _sentence(block: list[list[str]], row: int, line: int) -> Sentence:
    tags = tuple(fields[-1] for fields in block) if len(block[0]) > 1 else ()
    return Sentence(words=tuple(fields[0] for fields in block), tags=tags, row=row, line=line)


def parse_list(text: str, place: str, what: str) -> Words:
    """Return the texts of a JSON list, as JSONL and Parquet columns of lists are read.

    Raises:
        UserError: it is no list of texts.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise UserError(
            f'{place}: {what} is a list of texts such as ["New", "York"], but got'
            f" {text[:60]!r}. (A CoNLL file, .conll, needs no lists.)"
        )
    if not is_unicode("".join(found)):
        raise UserError(
            f"{place}: {what} holds half of a surrogate pair (a \\ud800 to \\udfff escape without"
            " its other half), which is no character; write the character itself."
        )
    return tuple(found)
