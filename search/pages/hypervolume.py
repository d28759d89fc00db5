"""How the hypervolume of a study grew: over its trials, its time, and what training cost."""

from collections.abc import Sequence
from itertools import accumulate

from optuna.trial import FrozenTrial

from search.moments import end_of
from search.pages.clock import Clock
from search.pages.hover import hover_head
from search.pages.shell import page, paragraph, plot
from search.pages.style import FRONT, Figure, axis, base_layout
from search.pages.words import in_numbers
from search.snapshot import StudySnapshot
from search.spent import spent_by
from search.volume import MARGIN, Volume, volumes

_MAX_MARKERS = 200
"""Points of a curve beyond which it is a line alone."""
ABOUT = (
    "The hypervolume is the share of the box of all objectives that the front dominates: from the"
    f" best value of each to {MARGIN:.0%} of their range beyond the worst that a complete trial"
    " had. A curve that has been flat for long says that more trials would find little."
)


def hypervolume_html(snapshot: StudySnapshot) -> str:
    """Return the page."""
    grown = volumes(snapshot.trials, snapshot.directions)
    title = "Hypervolume"
    if not grown:
        text = "No trial is complete yet, so there is no volume to draw."
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    now = f"By now it is {grown[-1].share:.3f}."
    return page(
        snapshot.study_name,
        title,
        in_numbers(snapshot),
        paragraph(f"{ABOUT} {now}"),
        plot(hypervolume_figure(snapshot, grown), "hypervolume", "720px"),
    )


def hypervolume_figure(snapshot: StudySnapshot, grown: Sequence[Volume]) -> Figure:
    """Draw the volume over trials, over minutes of work, and over training FLOPs spent."""
    clock = Clock([trial for trial in snapshot.trials if trial.datetime_start])
    over: dict[str, Sequence[float]] = {
        "trials that ended": _trials_ended(snapshot, grown),
        "minutes of work": [clock.minutes(end_of(volume.trial)) for volume in grown],
    }
    gflops = _flops_until(snapshot, grown)
    if gflops[-1]:
        scale, unit = _flops_unit(snapshot, gflops[-1])
        title = f"{unit} spent on training, that of pruned and failed trials with it"
        over[title] = [spent / scale for spent in gflops]
    shares = [volume.share for volume in grown]
    hover = [f"{hover_head(v.trial)}<br>hypervolume <b>{v.share:.4f}</b>" for v in grown]
    data, axes = [], {}
    height = 1 / len(over)
    for index, (title, places) in enumerate(over.items()):
        letter = "" if index == 0 else str(index + 1)
        trace = {
            "x": list(places),
            "y": shares,
            "mode": "lines+markers" if len(shares) <= _MAX_MARKERS else "lines",
            "line": {"shape": "hv", "color": FRONT, "width": 2},
            "marker": {"size": 5},
            "text": hover,
            "hovertemplate": "%{text}<br>%{x:.4g}<extra></extra>",
            "xaxis": f"x{letter}",
            "yaxis": f"y{letter}",
        }
        data.append(trace)
        top = 1 - index * height
        axes[f"xaxis{letter}"] = axis(title, rangemode="tozero", anchor=f"y{letter}")
        axes[f"yaxis{letter}"] = axis(
            "hypervolume", rangemode="tozero", domain=[top - 0.68 * height, top]
        )
    margin = {"l": 76, "r": 24, "t": 40, "b": 8}
    return {"data": data, "layout": base_layout(showlegend=False, margin=margin, **axes)}


def _trials_ended(snapshot: StudySnapshot, grown: Sequence[Volume]) -> list[int]:
    """How many trials of any end there were when each of these ended."""
    ends = sorted(end_of(trial) for trial in _ended(snapshot))
    place = {moment: count for count, moment in enumerate(ends, start=1)}
    return [place[end_of(volume.trial)] for volume in grown]


def _flops_until(snapshot: StudySnapshot, grown: Sequence[Volume]) -> list[float]:
    """GFLOPs of training that all trials together had spent when each of these ended."""
    ended = sorted(_ended(snapshot), key=lambda trial: (end_of(trial), trial.number))
    spent = accumulate(spent_by(snapshot.trials, t, snapshot.n_train).gflops for t in ended)
    by_number = dict(zip((t.number for t in ended), spent, strict=True))
    return [by_number[volume.trial.number] for volume in grown]


def _ended(snapshot: StudySnapshot) -> list[FrozenTrial]:
    return [trial for trial in snapshot.trials if trial.datetime_complete]


def _flops_unit(snapshot: StudySnapshot, total: float) -> tuple[float, str]:
    """GFLOPs of one unit of the axis, and its name."""
    if snapshot.n_train is None:
        return 1.0, "GFLOPs a row"
    for scale, unit in ((1e6, "PFLOPs"), (1e3, "TFLOPs")):
        if total >= scale:
            return scale, unit
    return 1.0, "GFLOPs"
