"""Where names go in a drawing: beside what they name, and not over anything else."""

from dataclasses import dataclass

from markupsafe import Markup

from search.report.svg import el, width_of

_SIZE_PX = 12.0
_REACH = 6.0
"""How far a mark reaches from its middle."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """What a name or a mark takes up, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether two boxes have a pixel in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """Whether another box lies within this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def around(x: float, y: float) -> Box:
    """Return what a mark takes up."""
    return Box(left=x - _REACH, top=y - _REACH, right=x + _REACH, bottom=y + _REACH)


def label(text: str, x: float, y: float, source: str, taken: list[Box], area: Box) -> list[Markup]:
    """Return a name beside a mark, in the first place that is free; [] where none is.

    Args:
        text: the name.
        x: of the mark.
        y: of the mark.
        source: what the name is of.
        taken: what is there already; the name is added to it.
        area: where names may lie.
    """
    width = width_of(text, _SIZE_PX)
    places = (
        (x + 13, y - 5, "start"),
        (x + 13, y + 14, "start"),
        (x - 13, y - 5, "end"),
        (x - 13, y + 14, "end"),
        (x, y - 14, "middle"),
        (x, y + 24, "middle"),
        (x - 13, y - 22, "end"),
        (x - 13, y + 30, "end"),
        (x + 13, y + 30, "start"),
    )
    for px, py, anchor in places:
        left = px - width * {"start": 0.0, "end": 1.0, "middle": 0.5}[anchor]
        box = Box(left=left, top=py - 11, right=left + width, bottom=py + 3)
        if area.holds(box) and not any(box.meets(other) for other in taken):
            taken.append(box)
            place = {"x": px, "y": py, "text_anchor": anchor}
            return [el("text", text, **place, class_="name", data_source=source)]
    return []
