"""The knobs drawn: bars of importance, and an objective against each value of a knob."""

from collections.abc import Sequence

from markupsafe import Markup

from search.objectives import SHARES
from search.report.naming import knob_title, value_title
from search.report.sensitivity import Knob, Point
from search.report.shown import shown
from search.report.svg import Axis, drawing, el, tick, tick_label, width_of
from search.report.texts import Texts

_WIDTH, _BAR_ROW = 880.0, 24.0
_MAX_DOTS = 240
_N_ACROSS, _CELL_W, _CELL_H = 3, 293.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 28.0, 34.0


def importance_chart(knobs: Sequence[Knob], texts: Texts) -> Markup:
    """Draw one bar a knob, the most important one first."""
    names = [str(knob_title(knob.name, texts).value) for knob in knobs]
    left = 12 + max(width_of(name) for name in names)
    longest = max(float(knob.importance.value) for knob in knobs) or 1.0
    room = _WIDTH - left - 70
    parts = []
    for index, (knob, name) in enumerate(zip(knobs, names, strict=True)):
        y, share = _BAR_ROW * index, float(knob.importance.value)
        length = room * share / longest
        parts += [
            el(
                "text",
                name,
                x=left - 8,
                y=y + 16,
                text_anchor="end",
                class_="name",
                data_source=f"knob:{knob.name}",
            ),
            el("rect", x=left, y=y + 4, width=max(length, 1.0), height=_BAR_ROW - 8, class_="bar"),
            el(
                "text",
                shown(knob.importance, texts),
                x=left + length + 8,
                y=y + 16,
                class_="name",
                data_source=knob.importance.source,
                data_value=repr(share),
            ),
        ]
    return drawing(_WIDTH, _BAR_ROW * len(knobs), texts.word("knobs.figure_bars"), *parts)


def curves_chart(knobs: Sequence[Knob], metric: str, texts: Texts) -> Markup:
    """Draw the objective against each knob in a small frame of its own, all on one scale."""
    values = [float(fact.value) for knob in knobs for _, fact in knob.points]
    parts = []
    for index, knob in enumerate(knobs):
        row, column = divmod(index, _N_ACROSS)
        inner = _cell(knob, metric, values, texts)
        place = f"translate({column * _CELL_W:.1f} {row * _CELL_H:.1f})"
        parts.append(el("g", *inner, transform=place))
    n_rows = -(-len(knobs) // _N_ACROSS)
    return drawing(_WIDTH, n_rows * _CELL_H, texts.word("knobs.figure_curves"), *parts)


def _cell(knob: Knob, metric: str, values: Sequence[float], texts: Texts) -> list[Markup]:
    y = Axis.over(values, _CELL_H - _BOTTOM, _TOP)
    name = knob_title(knob.name, texts)
    parts = [el("text", str(name.value), x=4.0, y=16.0, class_="axis", data_source=name.source)]
    ticks = y.ticks(3)
    for value in ticks:
        at = y.at(value)
        right = _CELL_W - _RIGHT
        parts.append(el("line", x1=_LEFT, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(tick(y, value, tick_label(value, ticks, metric in SHARES), x=_LEFT - 6))
    return parts + (_levels(knob, y, texts) if knob.levels else _range(knob, y))


def _levels(knob: Knob, y: Axis, texts: Texts) -> list[Markup]:
    step = (_CELL_W - _LEFT - _RIGHT) / len(knob.levels)
    labels = [value_title(level.value, texts) for level in knob.levels]
    # Names that would run into each other are written on two lines in turns.
    crowded = any(width_of(label, 11) > step - 4 for label in labels)
    parts = []
    for index, (level, label) in enumerate(zip(knob.levels, labels, strict=True)):
        middle = _LEFT + step * (index + 0.5)
        lower = 12.0 * (crowded and index % 2)
        at = y.at(float(level.median.value))
        parts += [
            el(
                "text",
                label,
                x=middle,
                y=_CELL_H - _BOTTOM + 15 + lower,
                text_anchor="middle",
                class_="tick",
                data_source=f"level:{knob.name}:{level.value}",
            ),
            el(
                "line",
                x1=middle - min(step * 0.38, 22.0),
                x2=middle + min(step * 0.38, 22.0),
                y1=at,
                y2=at,
                class_="median",
                data_source=level.median.source,
                data_y=repr(float(level.median.value)),
            ),
        ]
        dots = [fact for value, fact in _few(knob.points) if str(value) == level.value]
        for place, fact in enumerate(dots):
            # Dots of one value lie side by side.
            shift = (place - (len(dots) - 1) / 2) * min(5.0, 0.7 * step / len(dots))
            parts.append(_dot(middle + shift, y, fact.source, float(fact.value)))
    return parts


def _range(knob: Knob, y: Axis) -> list[Markup]:
    numbers = [float(value) for value, _ in knob.points]
    wide = min(numbers) > 0 and max(numbers) / min(numbers) > 8
    x = Axis.over(numbers, _LEFT + 4, _CELL_W - _RIGHT, log=wide)
    parts = []
    for value in x.ticks(4):
        parts.append(tick(x, value, f"{value:g}", y=_CELL_H - _BOTTOM + 15))
    for place, fact in _few(knob.points):
        parts.append(_dot(x.at(float(place)), y, fact.source, float(fact.value)))
    return parts


def _few(points: Sequence[Point]) -> Sequence[Point]:
    """Return so many points as a small frame shows: evenly picked, where there are more."""
    return points[:: -(-len(points) // _MAX_DOTS)]


def _dot(x: float, y: Axis, source: str, value: float) -> Markup:
    return el(
        "circle",
        cx=x,
        cy=y.at(value),
        r=3.2,
        class_="dot",
        data_source=source,
        data_y=repr(value),
    )
