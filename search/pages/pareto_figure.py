"""The Pareto figure of a study. All text that a user chose is escaped."""

import math
import textwrap
from collections.abc import Sequence
from html import escape

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.baselines import baseline_title
from search.confirmed import Confirmed
from search.objectives import formatted, title_of
from search.pages.hover import hover_facts, hover_head
from search.pages.style import (
    BASELINE,
    EDGE,
    FRONT,
    GOOD,
    INK,
    KNEE,
    OTHER,
    Figure,
    Layout,
    axis,
    base_layout,
    better,
    better_below,
)
from search.rung_values import rungs_reached
from search.snapshot import StudySnapshot

Trials = Sequence[FrozenTrial]

_SYMBOLS = ("square", "diamond", "triangle-up", "cross", "star")
# The plot's usual extent on a laptop: only to tell which labels would collide.
_WIDTH_PX, _HEIGHT_PX = 860, 400
_ROOM, _ROOM_FOR_LABELS = 0.07, 0.25
"""Beyond the points, as shares of their extent: on the side where labels stand, 60 pixels even of
a plot that is no higher than 300."""


def pareto_figure(snapshot: StudySnapshot) -> Figure:
    """Draw the first objective against the second, with a third one as colour.

    Shown are the front as a staircase, all other complete trials, pruned trials where their last
    rung left them, baselines by their own symbols, the knee in a ring, what was exported last in a
    square, and confirmed points with their intervals. A study with one objective is drawn over the
    trial numbers.
    """
    data: list[Layout] = []
    view = _View(snapshot)
    if view.pruned:
        marker = {"symbol": "circle-open", "size": 8, "color": OTHER, "line": {"width": 1.2}}
        label = "pruned, last rung"
        data.append(view.points(view.pruned, label, marker, coloured=False))
    if view.infeasible:
        marker = {"symbol": "x-thin", "size": 8, "line": {"width": 1.6, "color": OTHER}}
        data.append(view.points(view.infeasible, "breaks a bound", marker, coloured=False))
    shown = {trial.number for trial in [*snapshot.front, *view.baselines]}
    others = [trial for trial in snapshot.trained if trial.number not in shown]
    if others:
        marker = {"size": 8, "color": OTHER, "opacity": 0.75}
        data.append(view.points(others, "complete", marker))
    if snapshot.front:
        data.append(view.front_trace())
    for trial, symbol in zip(view.baselines, _SYMBOLS * len(view.baselines), strict=False):
        # Short, so that the legend takes few lines where the page is narrow.
        name = baseline_title(trial.user_attrs["baseline"]).removesuffix(" in all layers")
        marker = {"symbol": symbol, "size": 13, "color": BASELINE, "line": EDGE}
        data.append(view.points([trial], f"baseline: {name}", marker, coloured=False))
    if view.confirmed:
        data.append(view.confirmed_trace())
    for trial, name, symbol, hue, size in view.marks():
        marker = {"symbol": symbol, "size": size, "color": hue, "line": {"width": 2.5}}
        ring = view.points([trial], name, marker, coloured=False)
        data.append(ring | {"hoverinfo": "skip", "hovertemplate": None})
    layout = view.layout()
    if snapshot.front:
        layout["annotations"] = [view.knee_label()]
    return {"data": data, "layout": layout}


class _View:
    """The trials of one figure, sorted by the part that they play in it, and their places."""

    def __init__(self, snapshot: StudySnapshot) -> None:
        self.snapshot = snapshot
        self.names, self.directions = snapshot.names, snapshot.directions
        # Where better lies.
        self.left = len(self.names) == 1 or self.directions[1] == StudyDirection.MINIMIZE
        self.up = self.directions[0] == StudyDirection.MAXIMIZE
        self.baselines = [t for t in snapshot.trained if "baseline" in t.user_attrs]
        self.pruned = [t for t in snapshot.trials if _last_rung(t, self.names)]
        self.infeasible = [
            t for t in snapshot.trials if t.user_attrs.get("end") == "infeasible" and t.values
        ]
        self.coloured = len(self.names) > 2
        self.confirmed = [c for c in snapshot.confirmed if self._confirmed_place(c) is not None]
        places = [
            self._place(trial) for trial in [*snapshot.trained, *self.infeasible, *self.pruned]
        ]
        for point in self.confirmed:
            x, _ = self._confirmed_place(point) or (0.0, 0.0)
            places += [(x, bound) for bound in point.interval(snapshot.tested)]
        sides = ((self.left, False), (not self.up, self.up))
        axes = zip(*places, strict=True)
        self.ranges = [_padded(values, *side) for values, side in zip(axes, sides, strict=False)]

    def points(
        self, trials: Trials, name: str, marker: dict[str, object], coloured: bool = True
    ) -> Layout:
        """One trace of markers; `coloured` ones show the third objective where there is one."""
        places = [self._place(trial) for trial in trials]
        if coloured and self.coloured:
            values = [trial.values[2] for trial in trials]
            line = {"width": 1, "color": OTHER}
            marker = marker | {"color": values, "coloraxis": "coloraxis", "line": line}
        return {
            "x": [x for x, _ in places],
            "y": [y for _, y in places],
            "mode": "markers",
            "name": name if len(trials) == 1 else f"{name} ({len(trials)})",
            "marker": marker,
            "text": [self._hover(trial) for trial in trials],
            "hovertemplate": "%{text}<extra></extra>",
        }

    def front_trace(self) -> Layout:
        """The front: a staircase over what it dominates, numbered where there is room."""
        marker = {"size": 11, "color": FRONT, "line": EDGE}
        trace = self.points(self.snapshot.front, "Pareto front", marker)
        trace |= {
            "legendrank": 1,
            "customdata": self._labels(),
            "texttemplate": "%{customdata}",
            "textposition": f"{'top' if self.up else 'bottom'} {'left' if self.left else 'right'}",
            "textfont": {"size": 12},
            "mode": "markers+text",
            "cliponaxis": False,
        }
        if len(self.names) == 2:
            # What a budget x buys: the best y at x or cheaper, so the step is taken at the point.
            line = {"shape": "hv" if self.left else "vh", "color": FRONT, "width": 1.8}
            trace |= {"mode": "lines+markers+text", "line": line}
        return trace

    def confirmed_trace(self) -> Layout:
        """Confirmed points: the mean on the test split over the seeds, and its 95 % interval."""
        tested = self.snapshot.tested
        places = [self._confirmed_place(point) or (0.0, 0.0) for point in self.confirmed]
        bounds = [point.interval(tested) for point in self.confirmed]
        return {
            "x": [x for x, _ in places],
            "y": [y for _, y in places],
            "mode": "markers",
            "name": f"confirmed on the test split, 95 % ({len(places)})",
            "marker": {"symbol": "line-ew", "size": 13, "line": {"width": 3, "color": GOOD}},
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [high - y for (_, high), (_, y) in zip(bounds, places, strict=True)],
                "arrayminus": [y - low for (low, _), (_, y) in zip(bounds, places, strict=True)],
                "color": GOOD,
                "thickness": 1.8,
                "width": 5,
            },
            "text": [_confirmed_hover(point, tested) for point in self.confirmed],
            "hovertemplate": "%{text}<extra></extra>",
        }

    def marks(self) -> list[tuple[FrozenTrial, str, str, str, int]]:
        """The rings: around the knee, and around what was exported last."""
        found = []
        if self.snapshot.knee is not None:
            found.append((self.snapshot.knee, "knee", "circle-open", KNEE, 23))
        chosen = self.snapshot.chosen
        found += [
            (trial, "exported last", "square-open", GOOD, 27)
            for trial in self.snapshot.trained
            if trial.number == chosen
        ]
        return found

    def knee_label(self) -> Layout:
        """The knee's annotation, on the side of the front where no trial can lie."""
        knee = self.snapshot.knee
        assert knee is not None
        x, y = self._place(knee)
        (low, high), _ = self.ranges
        left, up = (-1 if self.left else 1), (-1 if self.up else 1)
        # Room for the text, on a narrow page too.
        sideways = (x - low if self.left else high - x) / (high - low) > 0.35
        beside = "right" if self.left else "left"
        return {
            "x": x,
            "y": y,
            "text": f"<b>knee: trial {knee.number}</b>",
            "ax": 34 * left if sideways else 0,
            "ay": 30 * up if sideways else 40 * up,
            "xanchor": beside if sideways else "center",
            "standoff": 12,
            "arrowwidth": 1.4,
            "arrowcolor": KNEE,
            "arrowhead": 0,
            "font": {"size": 13, "color": INK},
        }

    def layout(self) -> Layout:
        """Axes with units, direction and room for labels; the legend above them."""
        across, up = self.names[1] if len(self.names) > 1 else "", self.names[0]
        objectives = (self.names, self.directions)
        spans: list[list[float] | None] = [*self.ranges] or [None, None]
        layout = base_layout(
            xaxis=axis(better(across, *objectives) if across else "trial", across, range=spans[0]),
            yaxis=axis(better_below(up, *objectives), up, range=spans[1]),
        )
        if self.coloured:
            title = escape(better(self.names[2], self.names, self.directions))
            bar = {"title": {"text": title, "side": "right"}, "thickness": 14}
            layout["coloraxis"] = {"colorscale": "Viridis", "colorbar": bar}
        return layout

    def _values(self, trial: FrozenTrial) -> Sequence[float]:
        return _last_rung(trial, self.names) or trial.values

    def _place(self, trial: FrozenTrial) -> tuple[float, float]:
        values = self._values(trial)
        return (values[1] if len(self.names) > 1 else trial.number, values[0])

    def _confirmed_place(self, point: Confirmed) -> tuple[float, float] | None:
        """Where a confirmed point stands; None where it has no place on these axes."""
        if self.snapshot.tested != self.names[0] or len(self.names) < 2:
            return None
        x, y = point.mean(self.names[1]), point.mean(self.names[0])
        return (x, y) if math.isfinite(x) and math.isfinite(y) else None

    def _labels(self) -> list[str]:
        """The number of every trial of the front, "" where it would run into another label."""
        taken: list[tuple[float, float]] = []
        labels = {}
        knee = self.snapshot.knee
        assert knee is not None
        for trial in [knee, *self.snapshot.front]:
            shares = zip(self._place(trial), self.ranges, strict=True)
            across, along = ((v - low) / (high - low) for v, (low, high) in shares)
            x, y = across * _WIDTH_PX, along * _HEIGHT_PX
            if all(abs(x - a) > 34 or abs(y - b) > 20 for a, b in taken):
                labels[trial.number] = str(trial.number)
                taken.append((x, y))
        return ["" if t is knee else labels.get(t.number, "") for t in self.snapshot.front]

    def _hover(self, trial: FrozenTrial) -> str:
        lines = [hover_head(trial)]
        for name, value in zip(self.names, self._values(trial), strict=True):
            lines.append(f"{escape(title_of(name))}: <b>{formatted(name, value)}</b>")
        return "<br>".join([*lines, *hover_facts(trial)])


def _confirmed_hover(point: Confirmed, tested: str) -> str:
    low, high = (formatted(tested, bound) for bound in point.interval(tested))
    n_seeds = len(point.runs)
    lines = [
        f"<b>{escape(point.title)}</b>, confirmed on the test split",
        f"{escape(tested)}: <b>{formatted(tested, point.mean(tested))}</b>, 95 % {low} to {high}",
        f"{n_seeds} seed{'s' * (n_seeds != 1)}",
    ]
    return "<br>".join([*lines, *map(escape, textwrap.wrap(point.structure, 62))])


def _padded(values: Sequence[float], more_below: bool, more_above: bool) -> list[float]:
    low, high = min(values), max(values)
    extent = (high - low) or abs(high) or 1.0
    below, above = (_ROOM_FOR_LABELS if more else _ROOM for more in (more_below, more_above))
    return [low - below * extent, high + above * extent]


def _last_rung(trial: FrozenTrial, names: Sequence[str]) -> Sequence[float]:
    """The objectives of a pruned trial at its last rung, () where it has none, or not all."""
    rungs = rungs_reached(trial.user_attrs)
    if trial.state != TrialState.PRUNED or not rungs:
        return ()
    values = rungs[max(rungs)]
    return [values[name] for name in names] if all(name in values for name in names) else ()
