"""Put a structure on another backbone: what of it can stand there, and which weights go along.

A block `l` of `L` becomes the block nearest to `l / L * L'` of `L'`; so do depths, exits and the
boundaries of a side network. A role is the role of the same name. Weights go along where the new
backbone is the old one with other weights, or with blocks taken out.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from space.adapter import Adapter, TokenSkip
from space.cost import BackboneShape
from space.side import Side
from space.spec import AdapterSpec
from trainers.data import TargetScale
from trainers.outline import Outline


def scaled(number: int, former: int, now: int) -> int:
    """Return `number` of `former` blocks as a number of `now` blocks: the nearest, halves up."""
    return (2 * number * now + former) // (2 * former)


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A structure on another backbone."""

    spec: AdapterSpec
    moves: Mapping[str, str]
    """Names of the parts of the old weights, each with the name of what it became."""
    dropped: tuple[str, ...]
    """What could not stand there, in sentences."""
    changed: tuple[str, ...]
    """What stands there otherwise, in sentences."""


def map_structure(spec: AdapterSpec, former: Outline, shape: BackboneShape) -> Mapped:
    """Return a structure as it stands on another backbone.

    Args:
        spec: on the old backbone.
        former: the old backbone.
        shape: the new one.

    Raises:
        ValueError: the structure is deeper than the old backbone.
    """
    if spec.depth > former.n_layers:
        raise ValueError(
            f"The structure runs {spec.depth} blocks, but its backbone had {former.n_layers}."
        )
    return _Mapping(spec, former, shape).mapped()


class _Mapping:
    """One structure on its way to another backbone.

    Args:
        spec: on the old backbone.
        former: the old backbone.
        shape: the new one.
    """

    def __init__(self, spec: AdapterSpec, former: Outline, shape: BackboneShape) -> None:
        self._spec, self._former, self._shape = spec, former, shape
        self._depth = max(1, self._scaled(spec.depth))
        self._moves: dict[str, str] = {"head": "head"}
        self._dropped: list[str] = []
        self._changed: list[str] = []

    def mapped(self) -> Mapped:
        """Return the structure, with what became of its parts."""
        spec, shape = self._spec, self._shape
        pooling = spec.pooling
        if shape.causal and pooling == "cls":
            pooling = "last"
            self._changed.append(
                "pooling: the last token in place of the first, which sees no other here"
            )
        if shape.n_layers != self._former.n_layers:
            self._changed.append(
                f"depth: {self._depth} of {shape.n_layers} blocks in place of {spec.depth} of"
                f" {self._former.n_layers}"
            )
        found = AdapterSpec(
            depth=self._depth,
            adapters=self._adapters(),
            pooling=pooling,
            skips=self._skips(),
            exits=self._exits(),
            side=self._side(),
        )
        if found.insertion_layers != spec.insertion_layers:
            self._changed.append(
                f"insertion layers: {_numbers(found.insertion_layers)} in place of"
                f" {_numbers(spec.insertion_layers)}"
            )
        return Mapped(
            spec=found,
            moves=self._moves,
            dropped=tuple(self._dropped),
            changed=tuple(self._changed),
        )

    def _scaled(self, number: int) -> int:
        return scaled(number, self._former.n_layers, self._shape.n_layers)

    def _layer(self, layer: int) -> int:
        return min(self._scaled(layer), self._depth - 1)

    def _adapters(self) -> tuple[Adapter, ...]:
        found: dict[tuple[int, str], tuple[Adapter, int]] = {}
        lost: dict[str, list[int]] = defaultdict(list)
        met: dict[str, list[int]] = defaultdict(list)
        for adapter in sorted(self._spec.adapters, key=lambda a: a.layer):
            reason = self._misfit(adapter)
            if reason:
                lost[f"{adapter.kind} at {adapter.role}: {reason}"].append(adapter.layer)
                continue
            place = (self._layer(adapter.layer), adapter.role)
            if place in found:
                met[adapter.role].append(found[place][1])
            found[place] = replace(adapter, layer=place[0]), adapter.layer
        self._dropped += [f"{what} (was in {_layers(where)})" for what, where in lost.items()]
        self._dropped += [
            f"{role}: what was in {_layers(where)}, as the adapter above it now stands in the same"
            " block"
            for role, where in met.items()
        ]
        for (layer, role), (_, before) in found.items():
            self._moves[f"adapters.{before}.{role}"] = f"adapters.{layer}.{role}"
        self._note_gate(found)
        return tuple(adapter for adapter, _ in found.values())

    def _misfit(self, adapter: Adapter) -> str:
        if adapter.role not in self._shape.roles:
            return f"the new backbone has no {adapter.role}"
        if adapter.kind == "prefix" and not self._shape.takes_prefix:
            return "the attention of the new backbone takes no prefix"
        return ""

    def _note_gate(self, found: Mapping[tuple[int, str], Any]) -> None:
        """Say where a role of the same name does another thing."""
        gated = "ffn_gate" in self._shape.roles, "ffn_gate" in self._former.roles
        if gated == (True, False) and any(role == "ffn_up" for _, role in found):
            self._changed.append(
                "ffn_up: its output is multiplied with that of ffn_gate, which has the activation"
                " here and no adapter"
            )
        if gated == (False, True) and any(role == "ffn_up" for _, role in found):
            self._changed.append("ffn_up: has the activation itself, as there is no gate here")

    def _skips(self) -> tuple[TokenSkip, ...]:
        if self._spec.skips and not self._shape.gathers_tokens:
            layers = _layers([skip.layer for skip in self._spec.skips])
            self._dropped.append(
                f"token_keep in {layers}: the blocks of the new backbone need all tokens, so that"
                " all run"
            )
            return ()
        found = {}
        for skip in self._spec.skips:
            layer = self._layer(skip.layer)
            found[layer] = replace(skip, layer=layer), skip.layer
        for layer, (_, before) in found.items():
            self._moves[f"skips.{before}"] = f"skips.{layer}"
        self._note_fewer("blocks that tokens pass by", len(self._spec.skips), len(found))
        return tuple(skip for skip, _ in found.values())

    def _exits(self) -> tuple[int, ...]:
        scaled_exits = {self._scaled(depth): depth for depth in self._spec.exits}
        found = {now: before for now, before in scaled_exits.items() if 1 <= now < self._depth}
        for now, before in found.items():
            self._moves[f"exits.{before}"] = f"exits.{now}"
        self._note_fewer("exits", len(self._spec.exits), len(found))
        return tuple(found)

    def _side(self) -> Side | None:
        side = self._spec.side
        if side is None:
            return None
        within = {min(max(1, self._scaled(b)), self._depth) for b in side.boundaries}
        self._note_fewer("boundaries of the side network", len(side.boundaries), len(within))
        self._moves["side"] = "side"
        return Side(width=side.width, boundaries=tuple(within))

    def _note_fewer(self, what: str, before: int, now: int) -> None:
        if now < before:
            self._dropped.append(f"{before - now} of {before} {what}: there is no place for each")


def _layers(layers: list[int]) -> str:
    return f"layer{'s' * (len(layers) > 1)} {_numbers(tuple(sorted(layers)))}"


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def moved_weights(
    fresh: Mapping[str, Tensor], old: Mapping[str, Tensor], moves: Mapping[str, str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights that a migrated structure begins from, and the parts that were moved.

    A part goes along as a whole, where all of its tensors fit; every other part is new.

    Args:
        fresh: the new weights of the migrated structure (AdaptedModel.trained_state).
        old: the trained weights of the old structure.
        moves: as in Mapped.
    """
    state, parts = dict(fresh), []
    for before, now in moves.items():
        own = {k: v for k, v in old.items() if k.startswith(f"{before}.")}
        renamed = {f"{now}{k.removeprefix(before)}": v for k, v in own.items()}
        place = {k: v.shape for k, v in fresh.items() if k.startswith(f"{now}.")}
        if place and place == {k: v.shape for k, v in renamed.items()}:
            state |= renamed
            parts.append(now)
    return state, tuple(parts)


def in_scale(
    state: Mapping[str, Tensor], before: TargetScale | None, now: TargetScale | None
) -> dict[str, Tensor]:
    """Return trained weights whose head answers in another scale of the numbers, otherwise alike.

    Args:
        state: what was trained.
        before: the scale that it answers in; None where the task has no numbers.
        now: the scale that it is to answer in.
    """
    found = dict(state)
    if before is None or now is None or before == now:
        return found
    factor = before.std / now.std
    weight, bias = found["head.linear.weight"], found["head.linear.bias"]
    found["head.linear.weight"] = weight * factor
    found["head.linear.bias"] = bias * factor + (before.mean - now.mean) / now.std
    return found
