"""Where in the backbone the signal is, learned cheaply before the search: `sampler_prior: side`.

Two readings, both on hidden states from the cache, so that they cost next to nothing: a head alone
behind each depth that the space holds tells which depth suffices, and the gates of a side network
that reads all blocks tell which of them carry the signal. A few structures that stand there are
tried before the sampler chooses: from these it learns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import optuna
import torch

from search.baselines import baseline_learning
from search.context import StudyContext
from search.objectives import VALIDATION_LOSS
from search.starting_points import STARTING_POINT, usual_adapter
from search.training import train_structure
from search.trial import Planned
from space.errors import TrialError
from space.insertion import PATTERNS
from space.kinds import KINDS, kinds_for
from space.replay import params_for
from space.search_space import Learning, SearchSpace
from space.side import SIDE, Side
from space.spec import AdapterSpec
from trainers.fit import Tick
from trainers.weights import FILE_NAME, read_tensors, trial_folder

SIDE_PROBE = "side_probe"
"""The baseline that is this side network: an ordinary trial, which nothing stops."""
LAYER_SIGNAL = "layer_signal"
"""Study attribute: what was learned; and the starting point that such a structure is."""

PROBE_WIDTH = 48
ENOUGH = 0.95
"""A depth suffices where its head does so much of what the best depth's does beyond the worst's."""
MOST = 0.5
"""The blocks that carry the signal have at least this share of the weight together."""


@dataclass(frozen=True, kw_only=True)
class LayerSignal:
    """What the first rung learned."""

    metric: str
    direction: str
    """`maximize` or `minimize`: which way the metric is better."""
    by_depth: Mapping[int, float]
    """For each depth of the space the metric of a head alone behind it."""
    weights: tuple[float, ...]
    """For each block, lowest first, how much of the signal its output carries; 1 together."""

    @property
    def depth(self) -> int:
        """The least depth that suffices."""
        sign = 1.0 if self.direction == "maximize" else -1.0
        good = {depth: sign * value for depth, value in self.by_depth.items()}
        best, worst = max(good.values()), min(good.values())
        enough = worst + ENOUGH * (best - worst)
        return min(depth for depth, value in good.items() if value >= enough)

    def blocks(self, depth: int) -> tuple[int, ...]:
        """Return the fewest neighbouring blocks below a depth that carry most of the signal."""
        weights = self.weights[:depth]
        wanted = MOST * sum(weights)
        windows = [tuple(range(low, top)) for top in range(1, depth + 1) for low in range(top)]
        sums = {window: sum(weights[i] for i in window) for window in windows}
        enough = [window for window in windows if sums[window] >= wanted]
        return min(enough, key=lambda window: (len(window), -sums[window]))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "metric": self.metric,
            "by_depth": {str(depth): value for depth, value in self.by_depth.items()},
            "weights": list(self.weights),
            "depth": self.depth,
            "blocks": list(self.blocks(len(self.weights))),
        }


def side_probe(context: StudyContext) -> Planned:
    """Return the side network that reads every block of the deepest structure."""
    depth = max(context.space.depth)
    side = Side(width=PROBE_WIDTH, boundaries=tuple(range(1, depth + 1)))
    spec = AdapterSpec(depth=depth, pooling=context.space.pooling[0], side=side)
    return Planned(spec=spec, learning=baseline_learning(spec, context.space))


def begin_at_signal(
    context: StudyContext, stored: optuna.Study, space: SearchSpace, tick: Tick
) -> None:
    """Learn where the signal is, keep it with the study, and put structures there in line.

    Nothing is put in line where the side network or a head alone could not be trained.

    Args:
        context: the study.
        stored: holds the ended trial of the side network.
        space: what the sampler chooses from by now.
        tick: is told each step of what is trained meanwhile; what it raises ends the learning.
    """
    signal = _signal(context, stored, tick)
    for params in [] if signal is None else prior_params(space, signal):
        stored.enqueue_trial(params, user_attrs={STARTING_POINT: LAYER_SIGNAL})
    # Last: after a kill it is learned again, and equal structures are not trained twice.
    stored.set_user_attr(LAYER_SIGNAL, None if signal is None else signal.to_dict())


def _signal(context: StudyContext, stored: optuna.Study, tick: Tick) -> LayerSignal | None:
    probe = next(
        trial
        for trial in stored.get_trials(deepcopy=False)
        if trial.user_attrs.get("baseline") == SIDE_PROBE
        and trial.user_attrs["end"] != "interrupted"
    )
    if probe.user_attrs["end"] != "complete":
        return None
    weights = read_tensors(trial_folder(context.weights_folder, probe.number) / FILE_NAME)
    metric, direction = _metric(context)
    try:
        by_depth = {
            depth: _head_alone(context, depth, metric, tick) for depth in context.space.depth
        }
    except TrialError:
        return None
    return LayerSignal(
        metric=metric,
        direction=direction,
        by_depth=by_depth,
        weights=learned_weights(weights.get("side.gates")),
    )


def learned_weights(gates: torch.Tensor | None) -> tuple[float, ...]:
    """Return how much training raised each boundary's share against the others': 1 together."""
    begun = shares(None if gates is None else torch.zeros_like(gates))
    raised = [now / before for now, before in zip(shares(gates), begun, strict=True)]
    return tuple(own / sum(raised) for own in raised)


def shares(gates: torch.Tensor | None) -> tuple[float, ...]:
    """Return each boundary's share in the last state of a ladder: they are 1 together.

    Each gate takes its share of what is new, and leaves the rest of what was there.
    """
    taken = [1.0, *([] if gates is None else gates.double().sigmoid().tolist())]
    return tuple(
        own * prod(1 - later for later in taken[place + 1 :]) for place, own in enumerate(taken)
    )


def prior_params(space: SearchSpace, signal: LayerSignal) -> list[dict[str, Any]]:
    """Return the parameters of structures that stand where the signal is.

    At the depth that suffices and at the deepest one: the first kind that can, at all roles that
    it serves, in those blocks of the space's insertions that are most like the wanted ones; and
    a side network.
    """
    found = []
    for depth in dict.fromkeys((signal.depth, max(space.depth))):
        specs = [*_in_blocks(space, depth, signal.blocks(depth)), *_beside(space, depth, signal)]
        fitting = [(spec, baseline_learning(spec, space)) for spec in specs]
        params = [params_for(space, spec, learning) for spec, learning in fitting]
        found += [own for own in params if own is not None]
    return found


def _metric(context: StudyContext) -> tuple[str, str]:
    """Return the first objective that training gives, else the loss, and which way is better."""
    given = dict(zip(context.study.objective_names, context.study.directions, strict=True))
    known = [name for name in given if name in context.task.metrics]
    return (known[0], given[known[0]]) if known else (VALIDATION_LOSS, "minimize")


def _head_alone(context: StudyContext, depth: int, metric: str, tick: Tick) -> float:
    spec = AdapterSpec(depth=depth, pooling=context.space.pooling[0])
    learning = Learning(learning_rate=None, head_learning_rate=context.space.head_learning_rate)
    _, result = train_structure(context, spec, learning, report=lambda _: True, tick=tick)
    return float(result.metrics[metric])


def _in_blocks(space: SearchSpace, depth: int, wanted: Sequence[int]) -> list[AdapterSpec]:
    kind = next((kind for kind in space.kinds if kind in KINDS), None)
    if kind is None:
        return []
    roles = [role for role in space.roles if kinds_for(role, (kind,))]
    if isinstance(space.insertion, str):
        layers = tuple(wanted)  # windows and free masks hold any neighbouring blocks
    else:
        layers = _nearest(space.insertion, depth, wanted)
    adapters = tuple(usual_adapter(space, kind, i, role) for i in layers for role in roles)
    return [AdapterSpec(depth=depth, pooling=space.pooling[0], adapters=adapters)]


def _beside(space: SearchSpace, depth: int, signal: LayerSignal) -> list[AdapterSpec]:
    if SIDE not in space.kinds:
        return []
    layers = _nearest(space.side_layers, depth, signal.blocks(depth))
    width = sorted(space.side_width)[len(space.side_width) // 2]
    side = Side(width=width, boundaries=tuple(layer + 1 for layer in layers))
    return [AdapterSpec(depth=depth, pooling=space.pooling[0], side=side)]


def _nearest(patterns: Sequence[str], depth: int, wanted: Sequence[int]) -> tuple[int, ...]:
    """Return the blocks of the pattern that has most in common with the wanted ones."""

    def likeness(layers: tuple[int, ...]) -> float:
        return len(set(layers) & set(wanted)) / len(set(layers) | set(wanted))

    return max((tuple(PATTERNS[name](depth)) for name in patterns), key=likeness)
