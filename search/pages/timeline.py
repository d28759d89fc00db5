"""When each trial ran: one lane for all that ran one after the other."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby

from optuna.trial import FrozenTrial

from search.moments import begin_of, end_of
from search.pages.clock import Clock
from search.pages.hover import hover_facts, hover_head
from search.pages.shell import page, paragraph, plot
from search.pages.style import END_HUES, OTHER, Figure, axis, base_layout
from search.pages.words import in_numbers, trial_end
from search.progress import in_words
from search.snapshot import StudySnapshot

_LANE_PX = 64


def timeline_html(snapshot: StudySnapshot) -> str:
    """Return the page."""
    title = "Timeline"
    begun = [trial for trial in snapshot.trials if trial.datetime_start]
    if not begun:
        text = "No trial has begun yet, so there is nothing to draw."
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    n_lanes, clock = max(lanes_of(begun).values()), Clock(begun)
    text = f"{n_lanes} worker{'s' * (n_lanes != 1)}, {in_words(60 * clock.total)} of work."
    if clock.pauses:
        text += " At a dashed line the study was not run: pauses are left out."
    return page(
        snapshot.study_name,
        title,
        in_numbers(snapshot),
        paragraph(text),
        plot(timeline_figure(begun), "timeline", f"{170 + _LANE_PX * n_lanes}px"),
    )


def timeline_figure(trials: Sequence[FrozenTrial]) -> Figure:
    """Draw a bar for each trial from its start to its end, in the hue of how it ended."""
    clock, lanes = Clock(trials), lanes_of(trials)
    by_end = sorted(trials, key=lambda t: (list(END_HUES).index(trial_end(t)), t.number))
    bars = [_bars(end, list(own), clock, lanes) for end, own in groupby(by_end, trial_end)]
    pauses = [
        {
            "type": "line",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": pause,
            "x1": pause,
            "line": {"dash": "dash", "width": 1.5, "color": OTHER},
        }
        for pause in clock.pauses
    ]
    n_lanes = max(lanes.values())
    workers = list(range(1, n_lanes + 1))
    layout = base_layout(
        barmode="overlay",
        uniformtext={"minsize": 10, "mode": "hide"},
        shapes=pauses,
        xaxis=axis("minutes of work", rangemode="tozero"),
        yaxis=axis(
            tickvals=workers,
            ticktext=[f"worker {worker}" for worker in workers],
            range=[n_lanes + 0.6, 0.4],
            showgrid=False,
        ),
    )
    return {"data": bars, "layout": layout}


def _bars(end: str, own: Sequence[FrozenTrial], clock: Clock, lanes: Mapping[int, int]) -> Figure:
    begins = [clock.minutes(begin_of(t)) for t in own]
    ends = [clock.minutes(end_of(t)) for t in own]
    return {
        "type": "bar",
        "orientation": "h",
        "base": begins,
        "x": [b - a for a, b in zip(begins, ends, strict=True)],
        "y": [lanes[t.number] for t in own],
        "width": 0.62,
        "name": f"{end} ({len(own)})",
        "marker": {"color": END_HUES[end], "line": {"width": 1, "color": "white"}},
        "text": [str(t.number) for t in own],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "customdata": [_hover(t) for t in own],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def lanes_of(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Return the lane of each trial by its number, from 1: the first that is free."""
    free: list[datetime] = []
    lanes = {}
    for trial in sorted(trials, key=begin_of):
        begin = begin_of(trial)
        lane = next((i for i, until in enumerate(free) if until <= begin), len(free))
        free[lane : lane + 1] = [end_of(trial)]
        lanes[trial.number] = lane + 1
    return lanes


def _hover(trial: FrozenTrial) -> str:
    begin = begin_of(trial)
    took = in_words((end_of(trial) - begin).total_seconds())
    head = f"{hover_head(trial)}: {trial_end(trial)}"
    return "<br>".join([head, f"from {begin:%Y-%m-%d %H:%M:%S}, {took}", *hover_facts(trial)])
