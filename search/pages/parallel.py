"""Parallel coordinates: every complete trial as a line through its knobs and objectives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.study import StudyDirection

from search.objectives import SHARES
from search.pages.knobs import Knob, knobs_of
from search.pages.shell import page, paragraph, plot
from search.pages.style import WORSE_TO_BETTER, Figure, base_layout, short
from search.pages.words import in_numbers
from search.snapshot import StudySnapshot

_MAX_KNOBS, _WIDTH_PX = 9, 980
_SHORT = {
    "inference_gflops": "GFLOPs a row",
    "training_gflops": "training GFLOPs",
    "trainable_params": "parameters",
    "validation_loss": "loss",
    "peak_memory_mib": "memory (MiB)",
    "latency_ratio": "latency ratio",
}


def parallel_html(snapshot: StudySnapshot) -> str:
    """Return the page."""
    title = "Parallel coordinates"
    knobs = knobs_of(snapshot.trained)
    if len(snapshot.trained) < 2 or not knobs:
        text = "Fewer than two different trials are complete, so there is nothing to compare."
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    text = (
        "Each line is a complete trial, coloured by the first objective. Drag along an axis to see"
        " only the lines that pass there, click the axis to see all again; drag an axis by its"
        " name to move it."
    )
    return page(
        snapshot.study_name,
        title,
        in_numbers(snapshot),
        paragraph(text),
        plot(
            parallel_figure(snapshot, knobs),
            "parallel",
            "clamp(380px, 66vh, 640px)",
            f"{_WIDTH_PX}px",
        ),
    )


def parallel_figure(snapshot: StudySnapshot, knobs: list[Knob]) -> Figure:
    """Draw the knobs in their order, and the objectives at the right."""
    first = snapshot.names[0]
    values = [trial.values[0] for trial in snapshot.trained]
    bar = {"title": {"text": _title(first)}, "thickness": 12}
    if first in SHARES:
        bar["tickformat"] = ".0%"
    better: list[Any] = WORSE_TO_BETTER
    if snapshot.directions[0] == StudyDirection.MINIMIZE:
        better = [[1 - place, hue] for place, hue in reversed(better)]
    objectives = [
        _objective(name, [trial.values[index] for trial in snapshot.trained])
        for index, name in enumerate(snapshot.names)
    ]
    shown = [knob for knob in knobs if knob.title != "roles"][:_MAX_KNOBS]
    lines: Figure = {
        "type": "parcoords",
        "dimensions": [*map(_dimension, shown), *objectives],
        "line": {"color": values, "colorscale": better, "showscale": True, "colorbar": bar},
        "labelangle": -18,
        "labelside": "top",
        "labelfont": {"size": 12},
        "tickfont": {"size": 11},
        "rangefont": {"size": 10},
        "unselected": {"line": {"opacity": 0.04}},
    }
    layout = base_layout(margin={"l": 60, "r": 40, "t": 96, "b": 28})
    return {"data": [lines], "layout": layout}


def _dimension(knob: Knob) -> dict[str, object]:
    if not knob.is_number:
        choices = sorted({str(value) for value in knob.known})
        return {
            "label": knob.title,
            "values": [choices.index(str(value)) for value in knob.values],
            "tickvals": list(range(len(choices))),
            "ticktext": choices,
        }
    # A structure that has none of it stands at the bottom.
    numbers = [float(value) for value in knob.known]
    if knob.log and min(numbers) > 0:
        least = np.log10(min(numbers))
        placed = [least if v is None else float(np.log10(float(v))) for v in knob.values]
        ticks = np.linspace(min(placed), max(placed), 5)
        return {
            "label": knob.title,
            "values": placed,
            "tickvals": ticks.tolist(),
            "ticktext": [short(10**tick) for tick in ticks],
        }
    absent = min(0.0, *numbers) if any(value is None for value in knob.values) else min(numbers)
    placed = [absent if value is None else float(value) for value in knob.values]
    few = sorted(set(placed))
    named = {"tickvals": few, "ticktext": [short(v) for v in few]} if len(few) <= 8 else {}
    return {"label": knob.title, "values": placed, **named}


def _objective(name: str, values: Sequence[float]) -> dict[str, object]:
    ticks = np.linspace(min(values), max(values), 5).tolist()
    return {
        "label": _title(name),
        "values": values,
        "tickvals": ticks,
        "ticktext": [f"{tick:.1%}" if name in SHARES else short(tick) for tick in ticks],
    }


def _title(name: str) -> str:
    return _SHORT.get(name, name.replace("_", " "))
