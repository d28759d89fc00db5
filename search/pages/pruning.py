"""Rungs and pruning: how trials went on from epoch to epoch, what was stopped, what that saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.objectives import formatted, title_of
from search.pages.hover import hover_facts, hover_head
from search.pages.shell import heading, html_table, page, paragraph, plot
from search.pages.style import FRONT, OTHER, Figure, axis, base_layout, better_below
from search.pages.words import in_numbers, trial_end
from search.progress import in_words
from search.rung_values import rungs_reached
from search.snapshot import StudySnapshot
from search.spent import Spent, saved_by, spent_by

NEAR = 1e-6


@dataclass(frozen=True, kw_only=True)
class RungCount:
    """What happened at one rung."""

    level: float
    """In epochs."""
    reached: int
    stopped: int
    """So many trials ended here by the pruner's word."""


def pruning_html(snapshot: StudySnapshot) -> str:
    """Return the page."""
    title = "Rungs and pruning"
    trained = [trial for trial in snapshot.trials if trial.user_attrs.get("history")]
    if not trained:
        text = "No trial was validated yet, so there is nothing to draw."
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    rungs = rung_counts(snapshot.trials)
    parts = [
        paragraph(f"{saved_in_words(snapshot)} {compared_in_words(snapshot)}".strip()),
        plot(pruning_figure(snapshot, trained, rungs), "pruning", "clamp(400px, 66vh, 560px)"),
    ]
    if rungs:
        head = ["epochs", "trials that reached it", "stopped there", "share stopped"]
        rows = [
            [f"{r.level:g}", str(r.reached), str(r.stopped), f"{r.stopped / r.reached:.0%}"]
            for r in rungs
        ]
        parts += [heading("Rungs"), html_table(head, rows, n_right=4)]
    return page(snapshot.study_name, title, in_numbers(snapshot), *parts)


def pruning_figure(
    snapshot: StudySnapshot, trained: Sequence[FrozenTrial], rungs: Sequence[RungCount]
) -> Figure:
    """Draw the first objective over the epochs of each trial; stopped ones end in a cross."""
    name = snapshot.names[0]
    stopped = [trial for trial in trained if trial_end(trial) == "pruned"]
    others = [trial for trial in trained if trial_end(trial) != "pruned"]
    data = [
        *_curves(stopped, name, "stopped", OTHER, "x-thin"),
        *_curves(others, name, "to their end", FRONT, "circle"),
    ]
    title = better_below(name, snapshot.names, snapshot.directions)
    layout = base_layout(xaxis=axis("epochs", rangemode="tozero"), yaxis=axis(title, name))
    if rungs:
        data += _bars(rungs)
        layout["xaxis"]["domain"] = [0, 0.63]
        layout |= {
            "barmode": "stack",
            "xaxis2": axis("rung (epochs)", type="category", domain=[0.74, 1], anchor="y2"),
            "yaxis2": axis("trials\nblue went on, grey were stopped", anchor="x2"),
        }
    return {"data": data, "layout": layout}


def _curves(
    trials: Sequence[FrozenTrial], name: str, label: str, hue: str, symbol: str
) -> list[Figure]:
    """All curves as one line parted by gaps, since thousands of traces would be slow; and ends."""
    curves = [(trial, curve) for trial in trials if (curve := _curve(trial, name))]
    if not curves:
        return []
    gap: tuple[float | None, float | None] = (None, None)
    points = [point for _, curve in curves for point in (*curve, gap)]
    lines: Figure = {
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "mode": "lines",
        "name": f"{label} ({len(curves)})",
        "line": {"color": hue, "width": 1.2},
        "opacity": 0.75 if len(curves) <= 60 else 0.3,
        "hoverinfo": "skip",
    }
    edge = {"width": 1.8 if symbol == "x-thin" else 0, "color": hue}
    ends: Figure = {
        "x": [curve[-1][0] for _, curve in curves],
        "y": [curve[-1][1] for _, curve in curves],
        "mode": "markers",
        "showlegend": False,
        "marker": {"symbol": symbol, "size": 7, "color": hue, "line": edge},
        "text": [_hover(trial, name, curve[-1][1]) for trial, curve in curves],
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [lines, ends]


def _bars(rungs: Sequence[RungCount]) -> list[Figure]:
    levels = [f"{rung.level:g}" for rung in rungs]
    return [
        {
            "type": "bar",
            "x": levels,
            "y": counts,
            "xaxis": "x2",
            "yaxis": "y2",
            "name": label,
            "showlegend": False,
            "marker": {"color": hue},
            "text": [n or "" for n in counts],
            "textposition": "inside",
            "textangle": 0,
            "hovertemplate": f"%{{y}} {label} at %{{x}} epochs<extra></extra>",
        }
        for label, hue, counts in (
            ("stopped at the rung", OTHER, [rung.stopped for rung in rungs]),
            ("went on", FRONT, [rung.reached - rung.stopped for rung in rungs]),
        )
    ]


def rung_counts(trials: Sequence[FrozenTrial]) -> list[RungCount]:
    """Return how many trials reached each rung, and how many were stopped there."""
    reached: dict[float, int] = {}
    stopped: dict[float, int] = {}
    for trial in trials:
        levels = list(rungs_reached(trial.user_attrs))
        if not levels or "same_as" in trial.user_attrs:
            continue
        for level in levels:
            reached[level] = reached.get(level, 0) + 1
        if trial_end(trial) == "pruned":
            stopped[levels[-1]] = stopped.get(levels[-1], 0) + 1
    return [
        RungCount(level=level, reached=n, stopped=stopped.get(level, 0))
        for level, n in sorted(reached.items())
    ]


def saved(snapshot: StudySnapshot) -> tuple[Spent, Spent]:
    """Return what all trials spent, and what those that were stopped were spared.

    A stopped trial is taken to have gone on at its own pace.
    """
    n_epochs = snapshot.n_epochs or 0
    spent = [spent_by(snapshot.trials, trial, snapshot.n_train) for trial in snapshot.trials]
    spared = [
        saved_by(trial, n_epochs, snapshot.n_train)
        for trial in snapshot.trials
        if trial_end(trial) == "pruned" and "same_as" not in trial.user_attrs
    ]
    return _sum(spent), _sum(spared)


def saved_in_words(snapshot: StudySnapshot) -> str:
    """Return what pruning saved, in a sentence."""
    n_stopped = sum(
        trial_end(trial) == "pruned" and "same_as" not in trial.user_attrs
        for trial in snapshot.trials
    )
    if not n_stopped or snapshot.n_epochs is None:
        return "No trial was stopped early."
    spent, spared = saved(snapshot)
    epochs = spent.epochs + spared.epochs
    text = (
        f"{n_stopped} trials were stopped early. They were spared {spared.epochs:.4g} of"
        f" {epochs:.4g} epochs ({spared.epochs / epochs:.0%})"
    )
    if spared.seconds:
        whole = spent.seconds + spared.seconds
        text += f", about {in_words(spared.seconds)} of {in_words(whole)} of training"
    if spared.gflops:
        text += f", {spared.gflops / (spent.gflops + spared.gflops):.0%} of its FLOPs"
    return f"{text}: what they would have taken at their own pace."


def compared_in_words(snapshot: StudySnapshot) -> str:
    """Return what trials have at a rung, in a sentence; nothing where there is no rung."""
    if not rung_counts(snapshot.trials):
        return ""
    titles = ", ".join(title_of(name) for name in snapshot.compared)
    return f"What stands at a rung: {titles}."


def _sum(parts: Sequence[Spent]) -> Spent:
    return Spent(
        epochs=sum(part.epochs for part in parts),
        seconds=sum(part.seconds for part in parts),
        gflops=sum(part.gflops for part in parts),
    )


def _curve(trial: FrozenTrial, name: str) -> list[tuple[float, float]]:
    return [
        (float(epoch["epoch"]), float(epoch[name]))
        for epoch in trial.user_attrs["history"]
        if name in epoch
    ]


def _hover(trial: FrozenTrial, name: str, value: float) -> str:
    head = f"{hover_head(trial)}: {trial_end(trial)}"
    value_line = f"{title_of(name)}: <b>{formatted(name, value)}</b>"
    return "<br>".join([head, value_line, *hover_facts(trial)])
