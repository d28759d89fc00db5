"""The baselines: fixed structures that every study trains first, with the same budget.

A search that does not beat them should be seen not to.
"""

from collections.abc import Callable
from dataclasses import dataclass

from space.adapter import Adapter
from space.cost import BackboneShape
from space.roles import SUBLAYER_ROLES
from space.search_space import FloatRange, Learning, SearchSpace
from space.spec import AdapterSpec

LORA_RANK = 8
LORA_ROLES = ("query", "value")
BOTTLENECK_RANK = 16

DEFAULT_LEARNING_RATE = 3e-3


def _head_only(shape: BackboneShape, space: SearchSpace) -> AdapterSpec:
    return AdapterSpec(depth=shape.n_layers, pooling=space.pooling[0])


def _lora_all(shape: BackboneShape, space: SearchSpace) -> AdapterSpec:
    adapters = (
        Adapter(
            layer=layer,
            role=role,
            kind="lora",
            rank=LORA_RANK,
            alpha=space.alpha,
            scaling=space.scaling,
        )
        for layer in range(shape.n_layers)
        for role in LORA_ROLES
    )
    return AdapterSpec(depth=shape.n_layers, pooling=space.pooling[0], adapters=tuple(adapters))


def _bottleneck_all(shape: BackboneShape, space: SearchSpace) -> AdapterSpec:
    adapters = (
        Adapter(layer=layer, role=role, kind="bottleneck", rank=BOTTLENECK_RANK)
        for layer in range(shape.n_layers)
        for role in SUBLAYER_ROLES
    )
    return AdapterSpec(depth=shape.n_layers, pooling=space.pooling[0], adapters=tuple(adapters))


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A fixed structure for every backbone."""

    title: str
    """For people."""
    build: Callable[[BackboneShape, SearchSpace], AdapterSpec]


BASELINES = {
    "head_only": Baseline(title="head only", build=_head_only),
    "lora_all": Baseline(title="LoRA in all layers", build=_lora_all),
    "bottleneck_all": Baseline(title="bottleneck in all layers", build=_bottleneck_all),
}
"""Baselines by name: a head on the frozen backbone; LoRA of rank 8 on query and value in all
layers; bottleneck adapters in all layers."""


def baseline_title(name: str) -> str:
    """Return a baseline's name for people, also of one that a later version dropped."""
    return BASELINES[name].title if name in BASELINES else name.replace("_", " ")


def baseline_learning(spec: AdapterSpec, space: SearchSpace) -> Learning:
    """Return how a baseline is trained: at a usual rate, moved into the study's range."""
    rate = space.learning_rate
    if isinstance(rate, FloatRange):
        rate = min(max(DEFAULT_LEARNING_RATE, rate.low), rate.high)
    return Learning(
        learning_rate=None if spec.head_only else rate,
        head_learning_rate=space.head_learning_rate,
    )
