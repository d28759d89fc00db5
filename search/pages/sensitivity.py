"""Objectives against each knob, with a band: where a curve is flat, less would do."""

import random
from collections.abc import Sequence

from optuna.study import StudyDirection

from search.objectives import formatted, title_of
from search.pages.curves import MIN_IN_BIN, Bin, bins_of, enough
from search.pages.knobs import Knob, knobs_of
from search.pages.shell import heading, page, paragraph, plot
from search.pages.style import (
    BAND,
    FRONT,
    OTHER,
    Figure,
    Layout,
    axis,
    base_layout,
    better,
    log_ticks,
    short,
)
from search.pages.words import in_numbers
from search.snapshot import StudySnapshot

MIN_TRIALS = 4
"""Complete trials below which no curve is drawn."""
_COLUMNS, _GAP, _ROW_PX, _SHARE_OF_ROW = 3, 0.045, 262, 0.66
"""Plots in a row, what lies between two of them as a share of the width, and how much of a row's
height a plot takes: the rest is for names."""
_MAX_DOTS = 300
"""Of one plot, so that the page stays quick: a sample, where there are more trials."""
FIRST = "trained parameters"


def sensitivity_html(snapshot: StudySnapshot) -> str:
    """Return the page."""
    title = "Sensitivity"
    knobs = knobs_of(snapshot.trained)
    if len(snapshot.trained) < MIN_TRIALS or not knobs:
        n_trials = len(snapshot.trained)
        text = (
            f"{n_trials} trial{'s are' if n_trials != 1 else ' is'} complete; from {MIN_TRIALS} on"
            " that differ there is something to draw."
        )
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    parts = [
        paragraph(
            "Each plot shows all complete trials against one property of their structures: the"
            " line is the median, the band holds the middle half. Other properties differ"
            " along with it, so that a curve is what was seen and no proof of a cause."
        )
    ]
    for index, objective in enumerate(snapshot.names):
        values = [trial.values[index] for trial in snapshot.trained]
        maximize = snapshot.directions[index] == StudyDirection.MAXIMIZE
        name = better(objective, snapshot.names, snapshot.directions)
        parts += [heading(f"{name[0].upper()}{name[1:]}")]
        if index == 0:
            told = how_many_are_enough(knobs, values, objective, maximize)
            parts += [paragraph(told)] if told else []
        shown = [knob for knob in knobs if title_of(objective) != f"trainable {knob.title}"]
        figure = sensitivity_figure(shown, values, objective)
        n_rows = -(-len(shown) // _COLUMNS)
        parts.append(plot(figure, f"sensitivity-{index}", f"{_ROW_PX * n_rows + 44}px", "760px"))
    return page(snapshot.study_name, title, in_numbers(snapshot), *parts)


def sensitivity_figure(knobs: Sequence[Knob], values: Sequence[float], objective: str) -> Figure:
    """Draw one objective against each knob.

    Plain data, as plotly's script reads it: a dozen small plots made of plotly's Python objects
    took half a second.
    """
    n_rows = -(-len(knobs) // _COLUMNS)
    height = 1 / n_rows
    width = (1 - _GAP * (_COLUMNS - 1)) / _COLUMNS
    data: list[Layout] = []
    axes: Layout = {}
    sample: Sequence[int] = range(len(values))
    if len(values) > _MAX_DOTS:
        sample = sorted(random.Random(0).sample(sample, _MAX_DOTS))  # noqa: S311 (no secret)
    for index, knob in enumerate(knobs):
        row, column = divmod(index, _COLUMNS)
        letter = "" if index == 0 else str(index + 1)
        for trace in _traces(knob, values, objective, sample):
            data.append(trace | {"xaxis": f"x{letter}", "yaxis": f"y{letter}"})
        left, top = column * (width + _GAP), 1 - row * height
        across, up = [left, left + width], [top - height * _SHARE_OF_ROW, top]
        axes[f"xaxis{letter}"] = _knob_axis(knob) | {"domain": across, "anchor": f"y{letter}"}
        axes[f"yaxis{letter}"] = axis(
            "",
            objective,
            domain=up,
            anchor=f"x{letter}",
            matches="y" if index else None,
            showticklabels=column == 0,
            tickformat=_tick_format(objective),
        )
    margin = {"l": 64, "r": 16, "t": 40, "b": 4}
    return {"data": data, "layout": base_layout(showlegend=False, margin=margin, **axes)}


def how_many_are_enough(
    knobs: Sequence[Knob], values: Sequence[float], objective: str, maximize: bool
) -> str:
    """Return a sentence on how many trained parameters are enough, "" where all have as many."""
    knob = next((knob for knob in knobs if knob.title == FIRST), None)
    if knob is None:
        return ""
    bins = bins_of(knob, values)
    if len(bins) < 2 or min(found.n_trials for found in bins) < MIN_IN_BIN:
        return ""
    found, best = enough(bins, maximize)
    if found is bins[-1]:
        return "More trained parameters went with better values up to the most that were tried."
    assert found.stretch is not None
    low, high = map(short, found.stretch)
    return (
        f"About {low if low == high else f'{low} to {high}'} trained parameters were enough: the"
        f" median there, {formatted(objective, found.median)}, lies within the middle half of the"
        f" best stretch ({formatted(objective, best.low)} to {formatted(objective, best.high)})."
    )


def _traces(
    knob: Knob, values: Sequence[float], objective: str, sample: Sequence[int]
) -> list[Layout]:
    bins = bins_of(knob, values)
    places = [found.place for found in bins]
    dots: Layout = {
        "x": [knob.values[i] for i in sample],
        "y": [values[i] for i in sample],
        "mode": "markers",
        "marker": {"size": 5, "color": OTHER, "opacity": 0.5},
        "hoverinfo": "skip",
    }
    line: Layout = {
        "x": places,
        "y": [found.median for found in bins],
        "text": [_hover(found, objective) for found in bins],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 8, "color": FRONT},
    }
    if not knob.is_number:
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [found.high - found.median for found in bins],
            "arrayminus": [found.median - found.low for found in bins],
            "color": FRONT,
            "thickness": 2,
        }
        return [dots, line | {"mode": "markers", "error_y": bars}]
    band: Layout = {
        "x": [*places, *reversed(places)],
        "y": [*(found.high for found in bins), *(found.low for found in reversed(bins))],
        "fill": "toself",
        "fillcolor": BAND,
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
    }
    return [band, dots, line | {"mode": "lines+markers", "line": {"color": FRONT, "width": 2}}]


def _knob_axis(knob: Knob) -> Layout:
    if not knob.is_number:
        choices = [str(value) for value in dict.fromkeys(knob.known)]
        labels = [choice if len(choice) <= 14 else f"{choice[:13]}…" for choice in choices]
        ticks: Layout = {"tickvals": choices, "ticktext": labels, "tickangle": -25}
        return axis(knob.title, type="category", range=[-0.5, len(choices) - 0.5], **ticks)
    numbers = [float(value) for value in knob.known]
    if knob.log and min(numbers) > 0:
        return axis(knob.title, type="log", **log_ticks(min(numbers), max(numbers)))
    whole = all(number.is_integer() for number in numbers)
    few = sorted(set(numbers))
    if whole and len(few) <= 7:
        return axis(knob.title, tickvals=few)
    return axis(knob.title, nticks=6)


def _tick_format(objective: str) -> str | None:
    percent = axis("", objective)["tickformat"]
    return percent if percent else "~s" if objective.endswith("_params") else None


def _hover(found: Bin, objective: str) -> str:
    where = str(found.place)
    if found.stretch is not None:
        low, high = map(short, found.stretch)
        where = low if low == high else f"{low} to {high}"
    low, median, high = (formatted(objective, v) for v in (found.low, found.median, found.high))
    n = found.n_trials
    return (
        f"<b>{where}</b><br>median {median}<br>middle half {low} to {high}"
        f"<br>{n} trial{'s' * (n != 1)}"
    )
