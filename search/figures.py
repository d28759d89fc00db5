"""The Pareto figure of a study. All text that a user chose is escaped."""

import textwrap
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.baselines import baseline_title
from search.front import feasible, knee, pareto_front, structure
from search.objectives import SHARES, formatted, title_of
from search.rung_values import rungs_reached

Trials = Sequence[FrozenTrial]
Directions = Sequence[StudyDirection]
Names = Sequence[str]

_SYMBOLS = ("square", "diamond", "triangle-up", "cross", "star")

CONFIG = {
    "displaylogo": False,
    "responsive": True,
    # Plotly 7 offers to upload the chart to its makers' server: a study stays where it is.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "pareto"},
}
"""What every interactive figure of ours is shown with."""

# Hues that read on white and on near-black alike; shapes repeat what the hues say.
_FRONT, _OTHER, _BASELINE, _KNEE = "#2f73e0", "#8a94a6", "#d97d1e", "#d6336c"
_EDGE = {"width": 1, "color": "white"}
_INK, _GRID = "#24292f", "#e3e6ea"
# The plot's usual extent on a laptop: only to tell which labels would collide.
_WIDTH_PX, _HEIGHT_PX = 860, 400


def pareto_figure(
    trials: Trials, directions: Directions, names: Names, title: str = ""
) -> go.Figure:
    """Draw the first objective against the second, with a third one as colour.

    Shown are the front as a staircase, all other complete trials, pruned trials where their last
    rung left them, baselines by their own symbols, and the knee in a ring. A study with one
    objective is drawn over the trial numbers.
    """
    figure = go.Figure()
    view = _View(trials, directions, names)
    if view.pruned:
        marker = {"symbol": "circle-open", "size": 8, "color": _OTHER, "line": {"width": 1.2}}
        label = "pruned, last rung"
        figure.add_trace(view.points(view.pruned, label, marker, coloured=False))
    shown = {trial.number for trial in [*view.front, *view.baselines]}
    others = [trial for trial in view.complete if trial.number not in shown]
    if others:
        marker = {"size": 8, "color": _OTHER, "opacity": 0.75}
        figure.add_trace(view.points(others, "complete", marker))
    if view.front:
        figure.add_trace(view.front_trace())
    for trial, symbol in zip(view.baselines, _SYMBOLS * len(view.baselines), strict=False):
        # Short, so that the legend takes few lines where the page is narrow.
        name = baseline_title(trial.user_attrs["baseline"]).removesuffix(" in all layers")
        marker = {"symbol": symbol, "size": 13, "color": _BASELINE, "line": _EDGE}
        figure.add_trace(view.points([trial], f"baseline: {name}", marker, coloured=False))
    if view.front:
        marker = {"symbol": "circle-open", "size": 23, "color": _KNEE, "line": {"width": 2.5}}
        ring = view.points([view.knee], "knee", marker, coloured=False)
        figure.add_trace(ring.update(showlegend=False, hoverinfo="skip", hovertemplate=None))
        figure.add_annotation(view.knee_label())
    else:
        text = "No trial is complete yet."
        figure.add_annotation(
            text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_size=16
        )
    figure.update_layout(view.layout(title))
    return figure


class _View:
    """The trials of one figure, sorted by the part that they play in it, and their places."""

    def __init__(self, trials: Trials, directions: Directions, names: Names) -> None:
        self.names = names
        self.directions = directions
        # Where better lies.
        self.left = len(names) == 1 or directions[1] == StudyDirection.MINIMIZE
        self.up = directions[0] == StudyDirection.MAXIMIZE
        self.front = pareto_front(trials, directions)
        self.complete = [t for t in trials if feasible(t) and "same_as" not in t.user_attrs]
        self.baselines = [t for t in self.complete if "baseline" in t.user_attrs]
        self.pruned = [t for t in trials if _last_rung(t, len(names))]
        places = [self._place(trial) for trial in [*self.complete, *self.pruned]]
        self.ranges = [_padded(axis) for axis in zip(*places, strict=True)]
        self.coloured = len(names) > 2
        if self.front:
            self.knee = knee(self.front, directions)

    def points(
        self, trials: Trials, name: str, marker: dict[str, object], coloured: bool = True
    ) -> go.Scatter:
        """One trace of markers; `coloured` ones show the third objective where there is one."""
        places = [self._place(trial) for trial in trials]
        if coloured and self.coloured:
            values = [trial.values[2] for trial in trials]
            line = {"width": 1, "color": _OTHER}
            marker = marker | {"color": values, "coloraxis": "coloraxis", "line": line}
        return go.Scatter(
            x=[x for x, _ in places],
            y=[y for _, y in places],
            mode="markers",
            name=name if len(trials) == 1 else f"{name} ({len(trials)})",
            marker=marker,
            text=[self._hover(trial) for trial in trials],
            hovertemplate="%{text}<extra></extra>",
        )

    def front_trace(self) -> go.Scatter:
        """The front: a staircase over what it dominates, numbered where there is room."""
        marker = {"size": 11, "color": _FRONT, "line": _EDGE}
        trace = self.points(self.front, "Pareto front", marker)
        trace.update(
            legendrank=1,
            customdata=self._labels(),
            texttemplate="%{customdata}",
            textposition=f"{'top' if self.up else 'bottom'} {'left' if self.left else 'right'}",
            textfont={"size": 12},
            mode="markers+text",
            cliponaxis=False,
        )
        if len(self.names) == 2:
            # What a budget x buys: the best y at x or cheaper, so the step is taken at the point.
            line = {"shape": "hv" if self.left else "vh", "color": _FRONT, "width": 1.8}
            trace.update(mode="lines+markers+text", line=line)
        return trace

    def knee_label(self) -> dict[str, object]:
        """The knee's annotation, on the side of the front where no trial can lie."""
        x, y = self._place(self.knee)
        (low, high), _ = self.ranges
        left, up = (-1 if self.left else 1), (-1 if self.up else 1)
        sideways = (x - low if self.left else high - x) / (
            high - low
        ) > 0.35  # room for the text, on a narrow page too
        beside = "right" if self.left else "left"
        return {
            "x": x,
            "y": y,
            "text": f"<b>knee: trial {self.knee.number}</b>",
            "ax": 34 * left if sideways else 0,
            "ay": 30 * up if sideways else 46 * up,
            "xanchor": beside if sideways else "center",
            "standoff": 12,
            "arrowwidth": 1.4,
            "arrowcolor": _KNEE,
            "arrowhead": 0,
            "font": {"size": 13, "color": _INK},
        }

    def layout(self, title: str) -> dict[str, object]:
        """Axes with units, direction and room for labels; the legend above them."""
        axes = [self.names[1] if len(self.names) > 1 else "trial", self.names[0]]
        layout: dict[str, object] = {
            "template": "none",
            "title": {"text": escape(title), "x": 0.01, "font": {"size": 18}, "automargin": True},
            "font": {"family": "system-ui, Segoe UI, Roboto, Arial, sans-serif", "color": _INK},
            "margin": {"l": 76, "r": 24, "t": 64, "b": 58},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "hoverlabel": {"bgcolor": "white", "bordercolor": _GRID, "align": "left"},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
        }
        if self.coloured:
            bar = {"title": {"text": self._axis_title(self.names[2]), "side": "right"}}
            layout["coloraxis"] = {"colorscale": "Viridis", "colorbar": bar | {"thickness": 14}}
        for letter, name, span in zip("xy", axes, self.ranges or ([], []), strict=True):
            layout[f"{letter}axis"] = {
                "title": {"text": self._axis_title(name), "standoff": 12},
                "tickformat": ",.1~%" if name in SHARES else None,
                "range": span or None,
                "gridcolor": _GRID,
                "linecolor": _GRID,
                "showline": True,
                "zeroline": False,
            }
        return layout

    def _axis_title(self, name: str) -> str:
        if name not in self.names:
            return name
        lower = self.directions[list(self.names).index(name)] == StudyDirection.MINIMIZE
        return f"{escape(title_of(name))}, {'lower' if lower else 'higher'} is better"

    def _values(self, trial: FrozenTrial) -> Sequence[float]:
        return trial.values if feasible(trial) else _last_rung(trial, len(self.names))

    def _place(self, trial: FrozenTrial) -> tuple[float, float]:
        values = self._values(trial)
        return (values[1] if len(self.names) > 1 else trial.number, values[0])

    def _labels(self) -> list[str]:
        """The number of every trial of the front, "" where it would run into another label."""
        taken: list[tuple[float, float]] = []
        labels = {}
        for trial in [self.knee, *self.front]:
            shares = zip(self._place(trial), self.ranges, strict=True)
            across, along = ((v - low) / (high - low) for v, (low, high) in shares)
            x, y = across * _WIDTH_PX, along * _HEIGHT_PX
            if all(abs(x - a) > 34 or abs(y - b) > 20 for a, b in taken):
                labels[trial.number] = str(trial.number)
                taken.append((x, y))
        return ["" if t is self.knee else labels.get(t.number, "") for t in self.front]

    def _hover(self, trial: FrozenTrial) -> str:
        attrs = trial.user_attrs
        head = f"<b>trial {trial.number}</b>"
        if "baseline" in attrs:
            head += f", baseline: {escape(baseline_title(attrs['baseline']))}"
        lines = [head]
        for name, value in zip(self.names, self._values(trial), strict=True):
            lines.append(f"{escape(title_of(name))}: <b>{formatted(name, value)}</b>")
        long = [structure(trial)]
        facts = [f"learning rate {learning_rate_of(trial)}"] if learning_rate_of(trial) else []
        if "train_s" in attrs.get("metrics", {}):
            facts.append(f"trained for {attrs['metrics']['train_s']:.3g} s")
        long.append(", ".join(facts))
        if trial.state == TrialState.PRUNED:
            long.append(f"pruned: {attrs.get('reason', '')}")
        lines += [escape(line) for text in long for line in textwrap.wrap(text, 62)]
        return "<br>".join(lines)


def _padded(axis: Sequence[float]) -> list[float]:
    low, high = min(axis), max(axis)
    room = 0.09 * ((high - low) or abs(high) or 1.0)
    return [low - room, high + room]


def _last_rung(trial: FrozenTrial, n_objectives: int) -> Sequence[float]:
    """The values of a pruned trial at its last rung, () where it has none."""
    rungs = rungs_reached(trial.user_attrs)
    if trial.state != TrialState.PRUNED or not rungs:
        return ()
    values: Sequence[float] = rungs[max(rungs)]
    return values if len(values) == n_objectives else ()


def learning_rate_of(trial: FrozenTrial) -> str:
    """Return the learning rate of a trial for people, "" where it has none."""
    rate = trial.user_attrs.get("learning", {}).get("learning_rate")
    return "" if rate is None else f"{rate:.2g}"
