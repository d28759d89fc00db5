"""Entities of tagged words: spans by the BIO scheme, and how well they are found.

`B-x` begins an entity of type x and `I-x` goes on with it; an `I-x` behind another type begins one
too. A tag without such a prefix is a type of its own, and a run of it is one entity; `O` is none.
"""

from collections.abc import Iterable, Sequence

OUTSIDE = "O"

Entity = tuple[str, int, int]
"""(type, first word, word behind the last)"""


def entities(tags: Sequence[str]) -> set[Entity]:
    """Return the entities of one sentence."""
    found: set[Entity] = set()
    start, kind = 0, OUTSIDE
    for place, tag in enumerate([*tags, OUTSIDE]):
        begins, own = _parsed(tag)
        if kind not in (OUTSIDE, own) or (kind != OUTSIDE and begins):
            found.add((kind, start, place))
            kind = OUTSIDE
        if kind == OUTSIDE and own != OUTSIDE:
            start, kind = place, own
    return found


def _parsed(tag: str) -> tuple[bool, str]:
    """Return (whether the tag always begins an entity, its type)."""
    prefix, dash, kind = tag.partition("-")
    if dash and kind and prefix in ("B", "I"):
        return prefix == "B", kind
    return False, tag


class EntityCounts:
    """Counts entities that are found, wanted, and both: type and both ends must agree."""

    def __init__(self) -> None:
        self.n_right = self.n_found = self.n_wanted = 0

    def update(self, found: Iterable[Sequence[str]], wanted: Iterable[Sequence[str]]) -> None:
        """Take sentences with the tags that were found, and those that are right."""
        for found_tags, wanted_tags in zip(found, wanted, strict=True):
            own, right = entities(found_tags), entities(wanted_tags)
            self.n_right += len(own & right)
            self.n_found += len(own)
            self.n_wanted += len(right)

    def compute(self) -> dict[str, float]:
        """Return precision, recall and F1 over all entities; 0 where there are none."""
        precision = self.n_right / max(self.n_found, 1)
        recall = self.n_right / max(self.n_wanted, 1)
        both = self.n_found + self.n_wanted
        return {
            "entity_f1": 2 * self.n_right / max(both, 1),
            "entity_precision": precision,
            "entity_recall": recall,
        }
