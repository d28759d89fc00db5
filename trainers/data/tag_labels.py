"""Labels that are tags: one a word."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import pandas

from space.errors import UserError
from trainers.data.labelling import Codes, index_of, one_stratum
from trainers.data.scale import TargetScale
from trainers.entities import OUTSIDE

_PREFIX = re.compile(r"[A-Za-z][-_/].")
_OTHER_SCHEMES = ("S-", "E-", "L-", "U-", "M-")


@dataclass(frozen=True, kw_only=True)
class Tags:
    """A tag a word, by the BIO scheme or plain."""

    required = True
    each_side = False

    def check_values(self, frame: pandas.DataFrame, where: str) -> None:
        for tag, place in _tags(frame):
            if not tag.strip():
                raise UserError(
                    f"{where}: {place}: a word has an empty tag; a word that is in no entity has"
                    f" the tag {OUTSIDE}."
                )

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        found = self.counts(frame)
        if len(found) < 2:
            raise UserError(
                f"{where}: all words have the tag `{next(iter(found))}`; there is nothing to learn."
            )

    def strata(self, frame: pandas.DataFrame) -> Codes:
        return one_stratum(frame)

    def counts(self, frame: pandas.DataFrame) -> Mapping[str, int]:
        return Counter(tag for tags in frame["label"] for tag in set(tags))

    def notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        return [
            *_told(
                _orphans(frame),
                where,
                "stand behind no word of the same entity; each is taken to begin one.",
            ),
            *_told(
                ((tag, place) for tag, place in _tags(frame) if tag.startswith(_OTHER_SCHEMES)),
                where,
                "belong to another scheme than BIO, such as IOBES; they are taken as types of their"
                " own. Convert them to B- and I- for entity scores that can be compared.",
            ),
            *_told(
                ((tag, place) for tag, place in _tags(frame) if _has_unknown_prefix(tag)),
                where,
                "begin with neither B- nor I-; they are taken as types of their own.",
            ),
        ]

    def names(self, found: Iterable[str]) -> tuple[str, ...]:
        """Return the tags sorted, the one for no entity first."""
        return tuple(sorted(found, key=lambda tag: (tag != OUTSIDE, tag)))

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        return None

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        index = index_of(names)
        return [
            numpy.array([index[tag] for tag in tags], dtype=numpy.int64) for tags in frame["label"]
        ]


def _tags(frame: pandas.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield each tag with its place: the line of a CoNLL file, or the row of a table."""
    for tags, row, line in frame[["label", "row", "line"]].itertuples(index=False):
        for offset, tag in enumerate(tags):
            yield tag, f"line {line + offset}" if line else f"row {row}"


def _orphans(frame: pandas.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield each I- tag that goes on with nothing, with its place."""
    places = _tags(frame)
    for tags in frame["label"]:
        before = OUTSIDE
        for tag in tags:
            _, place = next(places)
            if tag.startswith("I-") and not (before[:2] in ("B-", "I-") and before[2:] == tag[2:]):
                yield tag, place
            before = tag


def _has_unknown_prefix(tag: str) -> bool:
    known = ("B-", "I-", *_OTHER_SCHEMES)
    return _PREFIX.match(tag) is not None and not tag.startswith(known)


def _told(found: Iterable[tuple[str, str]], where: str, what: str) -> list[str]:
    listed = list(found)
    if not listed:
        return []
    tag, place = listed[0]
    return [f"{where}: {len(listed)} tags such as {tag} ({place}) {what}"]
