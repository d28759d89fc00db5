"""Entities of tagged words: spans by the BIO scheme, and how well they are found.

`B-x` begins an entity of type x and `I-x` goes on with it; an `I-x` behind anything else begins
one too. `B` and `I` alone are of a type without a name. Any other tag, such as `NOUN`, makes one
entity of each word, as conlleval's raw tags do; `O` is none.
"""

from collections.abc import Iterable, Sequence

OUTSIDE = "O"

Entity = tuple[str, int, int]
"""(type, first word, word behind the last)"""


def entities(tags: Sequence[str]) -> set[Entity]:
    """Return the entities of one sentence."""
    found: set[Entity] = set()
    start, open_kind = 0, None
    for place, tag in enumerate([*tags, OUTSIDE]):
        begins, kind = _parsed(tag)
        if open_kind is not None and (begins or kind != open_kind):
            found.add((open_kind, start, place))
            open_kind = None
        if open_kind is None:
            start, open_kind = place, kind
    return found


def _parsed(tag: str) -> tuple[bool, str | None]:
    """Return whether the tag always begins an entity, and its type; None where it is in none."""
    if tag == OUTSIDE:
        return False, None
    prefix, _, kind = tag.partition("-")
    if prefix in ("B", "I"):
        return prefix == "B", kind
    return True, tag


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
        """Return F1, precision and recall over all entities; 0 where there are none."""
        return {
            "entity_f1": 2 * self.n_right / max(self.n_found + self.n_wanted, 1),
            "entity_precision": self.n_right / max(self.n_found, 1),
            "entity_recall": self.n_right / max(self.n_wanted, 1),
        }
