"""CoNLL files: one word a line, its tag in the last column, a blank line between sentences."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from space.errors import UserError

SUFFIXES = (".conll", ".txt")
_DOCUMENT = "-DOCSTART-"

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Words with their tags; no tags where the file has a single column."""

    words: Words
    tags: Words
    row: int
    """Number of the sentence in the file, from 1."""


def read_conll(path: Path, where: str) -> Iterator[Sentence]:
    """Read the sentences of a file, columns parted by tabs or, where there are none, by blanks.

    Args:
        path: in UTF-8.
        where: what the user wrote the path under, for messages.

    Raises:
        UserError: a line has another number of columns than the first one, or is not UTF-8.
    """
    words: list[str] = []
    tags: list[str] = []
    n_columns = row = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                fields = _fields(line)
                if not fields or fields[0] == _DOCUMENT:
                    if words:
                        row += 1
                        yield Sentence(words=tuple(words), tags=tuple(tags), row=row)
                        words, tags = [], []
                    continue
                n_columns = n_columns or len(fields)
                if len(fields) != n_columns:
                    raise UserError(
                        f"{where}: `{path}`, line {number}, has {len(fields)} columns, but the"
                        f" first has {n_columns}: {line.strip()[:60]!r}. Part columns by tabs, and"
                        " sentences by blank lines."
                    )
                words.append(fields[0])
                if n_columns > 1:
                    tags.append(fields[-1])
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: `{path}` is not UTF-8 ({error}). Convert it first.") from error
    if words:
        yield Sentence(words=tuple(words), tags=tuple(tags), row=row + 1)


def _fields(line: str) -> list[str]:
    line = line.rstrip("\r\n")
    if "\t" in line:
        return [field.strip() for field in line.split("\t")]
    return line.split()


def parse_list(text: str, place: str, what: str) -> Words:
    """Return the texts of a JSON list, as JSONL and Parquet columns of lists are read.

    Raises:
        UserError: it is no list of texts.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise UserError(
            f'{place}: {what} is a list of texts such as ["New", "York"], but got'
            f" {text[:60]!r}. (A CoNLL file, .conll, needs no lists.)"
        )
    return tuple(found)


def tag_notices(sentences: Sequence[Sequence[str]], where: str) -> list[str]:
    """Return what is odd about tags: I- tags that go on with nothing, other schemes."""
    orphans: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for tags in sentences:
        before = "O"
        for tag in tags:
            if tag.startswith("I-") and before[2:] != tag[2:]:
                orphans[tag] += 1
            if tag[:2] in ("S-", "E-", "L-", "U-", "M-"):
                other[tag] += 1
            before = tag
    notices = []
    if orphans:
        notices.append(
            f"{where}: {sum(orphans.values())} tags such as {next(iter(orphans))} stand behind no"
            " word of the same entity; each is taken to begin one."
        )
    if other:
        notices.append(
            f"{where}: tags such as {next(iter(other))} belong to another scheme than BIO; they are"
            " taken as types of their own. Convert them to B- and I- for entity scores that can be"
            " compared."
        )
    return notices
