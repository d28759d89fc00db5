"""The drawings of the page, as SVG."""

from collections.abc import Sequence

from markupsafe import Markup

from search.explanation.html import joined, tag
from trainers.explain.quality import Calibration

_SIZE, _LEFT, _BOTTOM, _TOP, _RIGHT = 300, 52, 48, 12, 26


def _x(share: float) -> float:
    return round(_LEFT + share * _SIZE, 1)


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * _SIZE, 1)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _text(x: float, y: float, text: str, anchor: str, **more: str) -> Markup:
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_="soft", **more)


def _drawing(content: Sequence[Markup], label: str) -> Markup:
    width, height = _LEFT + _SIZE + _RIGHT, _TOP + _SIZE + _BOTTOM
    return tag(
        "svg",
        *content,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
    )


def _axes(
    x_title: str,
    y_title: str,
    ticks_x: Sequence[tuple[float, str]],
    ticks_y: Sequence[tuple[float, str]],
) -> list[Markup]:
    parts = []
    for share, text in ticks_x:
        parts.append(_line(_x(share), _y(0), _x(share), _y(1), "axis"))
        parts.append(_text(_x(share), _y(0) + 20, text, "middle"))
    for share, text in ticks_y:
        parts.append(_line(_x(0), _y(share), _x(1), _y(share), "axis"))
        parts.append(_text(_x(0) - 6, _y(share) + 4, text, "end"))
    parts.append(_text(_x(0.5), _y(0) + 40, x_title, "middle"))
    turned = f"rotate(-90 12 {_y(0.5)})"
    parts.append(_text(12, _y(0.5), y_title, "middle", transform=turned))
    return parts


def reliability(found: Calibration) -> Markup:
    """Draw how often decisions of like confidence are right, and how sure they are on average."""
    ticks = [(i / 4, f"{i * 25}%") for i in range(5)]
    parts = _axes("confidence", "share that is right", ticks, ticks)
    for own in found.bins:
        x, width = _x(own.low) + 1, _SIZE * (own.high - own.low) - 2
        title = (
            f"confidence {own.low:.0%} to {own.high:.0%}: {own.n} decisions, mean confidence"
            f" {own.confidence:.1%}, right {own.accuracy:.1%}"
        )
        right = tag(
            "rect",
            x=x,
            y=_y(own.accuracy),
            width=round(width, 1),
            class_="fill",
            height=round(_y(0) - _y(own.accuracy), 1),
        )
        sure = _line(x, _y(own.confidence), round(x + width, 1), _y(own.confidence), "sure")
        parts.append(tag("g", tag("title", title), right, sure, class_="bin"))
    parts.append(_line(_x(0), _y(0), _x(1), _y(1), "diagonal"))
    return _drawing(parts, "reliability diagram")


def scatter(truth: Sequence[float], answer: Sequence[float]) -> Markup:
    """Draw answers against true numbers; a right one lies on the diagonal."""
    low, high = min(*truth, *answer), max(*truth, *answer)
    span = (high - low) or 1.0
    ticks = [(i / 4, f"{low + span * i / 4:.3g}") for i in range(5)]
    parts = _axes("true number", "answer", ticks, ticks)
    parts.append(_line(_x(0), _y(0), _x(1), _y(1), "diagonal"))
    dots = (
        tag(
            "circle",
            tag("title", f"true {t:.4g}, answer {a:.4g}"),
            cx=_x((t - low) / span),
            cy=_y((a - low) / span),
            r=3,
            class_="dot",
        )
        for t, a in zip(truth, answer, strict=True)
    )
    return _drawing([*parts, joined(dots)], "answers against true numbers")
