"""What all figures have in common: hues, axes, layout."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from optuna.study import StudyDirection

from search.objectives import SHARES, title_of

Layout = dict[str, Any]
Figure = dict[str, Any]
"""Data and layout, as plotly's script reads them."""

# Hues that read on white and on near-black alike; shapes repeat what the hues say.
FRONT, OTHER, BASELINE, KNEE, GOOD = "#2f73e0", "#8a94a6", "#d97d1e", "#d6336c", "#2b9a66"
HUES = (FRONT, BASELINE, GOOD, KNEE, "#8b5cf6", OTHER)
"""For things of one kind beside each other, such as objectives."""
BAND = "rgba(47,115,224,0.20)"
EDGE = {"width": 1, "color": "white"}
INK, GRID = "#24292f", "#e3e6ea"
END_HUES = {
    "complete": FRONT,
    "pruned": OTHER,
    "failed": KNEE,
    "infeasible": BASELINE,
    "interrupted": "#8b5cf6",
    "running": GOOD,
}
"""How a trial ended, everywhere in the same hue."""
TINT = [[0.0, "rgba(47,115,224,0.04)"], [1.0, "rgba(47,115,224,0.62)"]]
"""For heat maps: the page shines through, so that text reads in light and in dark."""
WORSE_TO_BETTER = [[0.0, "#d97d1e"], [0.5, "#94a0b3"], [1.0, "#2f73e0"]]
"""For lines on either page."""


def base_layout(**changes: Any) -> Layout:
    """Return the layout of a figure; the page's style sheet sets the colours of the dark."""
    layout: Layout = {
        "template": "none",
        "font": {"family": "system-ui, Segoe UI, Roboto, Arial, sans-serif", "color": INK},
        "margin": {"l": 76, "r": 24, "t": 46, "b": 58},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": "white", "bordercolor": GRID, "align": "left"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
    }
    return layout | changes


def axis(title: str = "", name: str = "", **changes: Any) -> Layout:
    """Return an axis with a title; that of a metric which is a share counts in percent."""
    base: Layout = {
        "title": {"text": escape(title).replace("\n", "<br>"), "standoff": 12},
        "tickformat": ",.1~%" if name in SHARES else None,
        "gridcolor": GRID,
        "linecolor": GRID,
        "showline": True,
        "zeroline": False,
        "automargin": True,
    }
    return base | changes


def better(name: str, names: Sequence[str], directions: Sequence[StudyDirection]) -> str:
    """Return an objective's title and which way is better."""
    lower = directions[list(names).index(name)] == StudyDirection.MINIMIZE
    return f"{title_of(name)}, {'lower' if lower else 'higher'} is better"


def better_below(name: str, names: Sequence[str], directions: Sequence[StudyDirection]) -> str:
    """Return the same in two lines, for an upright axis of a plot that may be low."""
    title, way = better(name, names, directions).rsplit(", ", 1)
    return f"{title}\n{way}"


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Return the ticks of a small logarithmic axis: two or three round numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        found = [digit * 10.0**power for power in powers for digit in digits]
        within = [value for value in found if low * 0.98 <= value <= high * 1.02]
        if len(within) > 1:
            break
    else:
        within = [low, high]
    step = math.ceil(len(within) / 3)
    return {"tickvals": within[::step], "ticktext": [short(value) for value in within[::step]]}


def short(value: float) -> str:
    """Return a number as short as an axis wants it: 150k, 2M, 0.003."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
