"""Where the front adapts: layers against roles, how often and with which rank."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.pages.shell import heading, page, paragraph, plot
from search.pages.style import INK, TINT, Figure, Layout, axis, base_layout
from search.pages.words import in_numbers
from search.snapshot import StudySnapshot
from space.roles import ROLES
from space.spec import AdapterSpec

RUNS, PASSES, LEAVES, SIDE = "runs at all", "tokens pass by", "rows may leave behind", "side reads"
_ROW_PX = 40


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One block and role over some structures."""

    share: float
    """Of the structures: how many have an adapter there."""
    rank: float | None
    """Mean rank of those that have one."""


LayerMap = dict[str, list[Cell]]
"""For each role that occurs, and for what else may be done to a block, a cell a block."""


def layer_map_html(snapshot: StudySnapshot) -> str:
    """Return the page."""
    title = "Layers and roles"
    front = [trial for trial in snapshot.front if "baseline" not in trial.user_attrs]
    if not front:
        text = "No structure that was searched is on the front yet, so there is no map to draw."
        return page(snapshot.study_name, title, in_numbers(snapshot), paragraph(text))
    parts = [
        paragraph(
            "How many of the structures adapt a role in a block, in percent, and the mean rank"
            " there. Blocks count from 0, the one nearest to the input. Baselines are left out."
        )
    ]
    searched = [trial for trial in snapshot.trained if "baseline" not in trial.user_attrs]
    for name, about, trials in (
        ("front", "On the Pareto front", front),
        ("all", "Of all complete trials, for comparison", searched),
    ):
        found = layer_map(trials)
        n = len(trials)
        parts += [
            heading(f"{about}: {n} structure{'s' * (n != 1)}"),
            plot(layer_map_figure(found), f"map-{name}", f"{118 + _ROW_PX * len(found)}px"),
        ]
    return page(snapshot.study_name, title, in_numbers(snapshot), *parts)


def layer_map(trials: Sequence[FrozenTrial]) -> LayerMap:
    """Return how often each block is adapted at each role, by some trials."""
    specs = [AdapterSpec.from_json(trial.user_attrs["spec"]) for trial in trials]
    layers = range(max(spec.depth for spec in specs))
    ranks: dict[tuple[str, int], list[int | None]] = {}
    for adapter in (adapter for spec in specs for adapter in spec.adapters):
        ranks.setdefault((adapter.role, adapter.layer), []).append(adapter.rank)
    served = {role for role, _ in ranks}
    found: LayerMap = {
        role: [_cell(ranks.get((role, layer), []), len(specs)) for layer in layers]
        for role in ROLES
        if role in served
    }
    others = {
        PASSES: [sum(spec.skip_at(layer) is not None for spec in specs) for layer in layers],
        LEAVES: [sum(layer + 1 in spec.exits for spec in specs) for layer in layers],
        SIDE: [
            sum(spec.side is not None and layer + 1 in spec.side.boundaries for spec in specs)
            for layer in layers
        ],
        RUNS: [sum(spec.depth > layer for spec in specs) for layer in layers],
    }
    for what, counts in others.items():
        if any(counts):
            found[what] = [Cell(share=n / len(specs), rank=None) for n in counts]
    return found


def layer_map_figure(found: LayerMap) -> Figure:
    """Draw the map, a number in each cell that is not empty."""
    names = [name.replace("_", " ") for name in found]
    n_layers = len(next(iter(found.values())))
    heat: Layout = {
        "type": "heatmap",
        "z": [[cell.share for cell in row] for row in found.values()],
        "x": list(range(n_layers)),
        "y": names,
        "text": [[_in_cell(cell, n_layers) for cell in row] for row in found.values()],
        "texttemplate": "%{text}",
        "textfont": {"size": 12, "color": INK},
        "customdata": [[_hover(cell) for cell in row] for row in found.values()],
        "hovertemplate": "block %{x}, %{y}: %{customdata}<extra></extra>",
        "colorscale": TINT,
        "zmin": 0,
        "zmax": 1,
        "xgap": 3,
        "ygap": 3,
        "showscale": False,
    }
    step = max(1, n_layers // 24)
    layout = base_layout(
        margin={"l": 130, "r": 24, "t": 36, "b": 52},
        xaxis=axis("block", tickvals=list(range(0, n_layers, step)), showgrid=False),
        yaxis=axis(autorange="reversed", showgrid=False, type="category"),
    )
    return {"data": [heat], "layout": layout}


def _cell(ranks: Sequence[int | None], n_specs: int) -> Cell:
    known = [rank for rank in ranks if rank is not None]
    mean = statistics.fmean(known) if known else None
    return Cell(share=len(ranks) / n_specs, rank=mean)


def _in_cell(cell: Cell, n_layers: int) -> str:
    if cell.share == 0:
        return ""
    if n_layers > 12 or cell.rank is None:  # no room for more
        return f"{cell.share:.0%}" if n_layers <= 24 else ""
    return f"{cell.share:.0%}, r{cell.rank:.3g}"


def _hover(cell: Cell) -> str:
    rank = "" if cell.rank is None else f", mean rank {cell.rank:.3g}"
    return f"{cell.share:.1%} of the structures{rank}"
