"""Drawings as SVG inside the page: they print, need no script, and take the page's colours.

A drawing is laid out in units of about one pixel at its natural width; classes name what the style
sheet colours. Every text and mark says by `data-source` where its number comes from.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

FONT_PX = 13


def el(tag: str, *children: str, **attributes: object) -> Markup:
    """Return one element; `data_value=1` gives `data-value="1"`, `class_` gives `class`."""
    given = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _attribute(value))
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, given, inner)


def _attribute(value: object) -> str:
    """Pixels to a tenth; values that others read stand in full, as text."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def drawing(width: float, height: float, label: str, *children: str) -> Markup:
    """Return a whole drawing that shrinks with the page."""
    return el(
        "svg",
        *children,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=label,
    )


def width_of(text: str, size: float = FONT_PX) -> float:
    """Return about how wide a text is, in pixels: fonts differ, so rather too wide."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return size * (1.0 * wide + 0.57 * (len(text) - wide))


@dataclass(frozen=True, kw_only=True)
class Axis:
    """From values to pixels."""

    low: float
    high: float
    start: float
    """The pixel of `low`."""
    end: float
    log: bool = False

    @classmethod
    def over(
        cls, values: Sequence[float], start: float, end: float, *, log: bool = False
    ) -> "Axis":
        """Return an axis that holds all values, with some room at both ends."""
        low, high = min(values), max(values)
        if log and low > 0:
            room = (high / low) ** 0.07 if high > low else 1.5
            return cls(low=low / room, high=high * room, start=start, end=end, log=True)
        room = 0.09 * ((high - low) or abs(high) or 1.0)
        return cls(low=low - room, high=high + room, start=start, end=end)

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, n_wanted: int = 5) -> list[float]:
        """Return round values on the axis: about as many as wanted."""
        if self.log and self.high / self.low > 4:
            found = [
                digit * 10.0**power
                for power in range(
                    math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1
                )
                for digit in (1, 2, 5)
            ]
            inside = [value for value in found if self.low <= value <= self.high]
            return inside[:: max(1, math.ceil(len(inside) / n_wanted))]
        rough = (self.high - self.low) / n_wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * f for f in (1, 2, 5, 10) if power * f >= rough * 0.999)
        first = math.ceil(self.low / step)
        return [step * i for i in range(first, math.floor(self.high / step) + 1)]


def tick_label(value: float, ticks: Sequence[float], share: bool) -> str:
    """Return a tick's value with as many digits as its neighbours need."""
    scale = 100 if share else 1
    gaps = [abs(b - a) * scale for a, b in pairwise(ticks)]
    gap = min(gaps, default=abs(value) * scale or 1.0)
    places = max(0, -math.floor(math.log10(gap) + 1e-9)) if gap else 0
    return f"{value * scale:,.{places}f}{'%' * share}"


def tick(
    axis: Axis, value: float, label: str, *, x: float | None = None, y: float | None = None
) -> Markup:
    """Return the text of a tick: under a horizontal axis at `y`, or left of a vertical at `x`."""
    place: dict[str, object] = (
        {"x": axis.at(value), "y": y, "text_anchor": "middle"}
        if x is None
        else {"x": x, "y": axis.at(value) + 4, "text_anchor": "end"}
    )
    return el(
        "text", label, **place, class_="tick", data_source="axis", data_value=repr(float(value))
    )
