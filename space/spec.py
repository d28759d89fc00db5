"""A structure as plain data: which adapters stand where, and how deep the backbone runs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from space.errors import close_matches
from space.kinds import KINDS
from space.roles import ROLES

POOLINGS = ("mean", "cls", "attention")
"""Ways to make one vector of a sequence: the mean, the first token, a learned query."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One adapter at one role of one block.

    Raises:
        ValueError: an unknown kind or role, a kind that cannot serve the role, a rank below 1,
            an alpha where the kind has none (or none where it has one), or one not above 0.
    """

    layer: int
    """Index of the block, from 0 (next to the embeddings)."""
    role: str
    kind: str
    rank: int
    """Low-rank size; for bottleneck and parallel adapters their inner width."""
    alpha: float | None = None
    """The output is scaled by alpha / rank; None for kinds without a scale."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"An adapter's kind is one of {', '.join(KINDS)}, but got {self.kind!r}."
                + close_matches(self.kind, KINDS)
            )
        kind = KINDS[self.kind]
        if self.role not in kind.roles:
            raise ValueError(
                f"A {self.kind} adapter serves {', '.join(kind.roles)}, but got {self.role!r}."
                + close_matches(self.role, kind.roles)
            )
        if self.rank < 1:
            raise ValueError(f"An adapter's rank is at least 1, but got {self.rank}.")
        if self.layer < 0:
            raise ValueError(f"An adapter's layer is at least 0, but got {self.layer}.")
        if kind.scaled != (self.alpha is not None):
            rule = "needs an alpha" if kind.scaled else "has no alpha"
            raise ValueError(f"A {self.kind} adapter {rule}, but got {self.alpha}.")
        if self.alpha is not None:
            if not 0 < self.alpha < math.inf:
                raise ValueError(f"An adapter's alpha is a number above 0, but got {self.alpha}.")
            object.__setattr__(self, "alpha", float(self.alpha))

    @property
    def scaling(self) -> float:
        """The factor on the adapter's output: alpha / rank, or 1 where there is no alpha."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


def _order(adapter: Adapter) -> tuple[int, int]:
    return (ROLES.index(adapter.role), adapter.layer)


def _alike(adapter: Adapter) -> tuple[str, str, int, float]:
    return (adapter.role, adapter.kind, adapter.rank, adapter.alpha or 0.0)


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """One structure of the search space: hashable, and with one spelling only.

    Equal structures compare equal and have the same JSON, whatever the order in which their
    adapters were given. A structure without adapters is a head on the frozen backbone.

    Raises:
        ValueError: a depth below 1, an adapter above the depth, two adapters at one role of one
            block, or an unknown pooling.
    """

    depth: int
    """How many blocks of the backbone run."""
    adapters: tuple[Adapter, ...] = ()
    pooling: str = "mean"

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"A depth is at least 1, but got {self.depth}.")
        if self.pooling not in POOLINGS:
            raise ValueError(
                f"A pooling is one of {', '.join(POOLINGS)}, but got {self.pooling!r}."
                + close_matches(self.pooling, POOLINGS)
            )
        seen: set[tuple[int, str]] = set()
        for adapter in self.adapters:
            if adapter.layer >= self.depth:
                raise ValueError(
                    f"An insertion layer lies below the depth {self.depth},"
                    f" but got {adapter.layer} (blocks count from 0)."
                )
            place = (adapter.layer, adapter.role)
            if place in seen:
                raise ValueError(
                    f"One adapter serves a role of a block, but layer {adapter.layer} has"
                    f" two at {adapter.role!r}."
                )
            seen.add(place)
        object.__setattr__(self, "adapters", tuple(sorted(self.adapters, key=_order)))

    @property
    def insertion_layers(self) -> tuple[int, ...]:
        """The blocks that carry adapters, lowest first."""
        return tuple(sorted({adapter.layer for adapter in self.adapters}))

    @property
    def first_insertion_layer(self) -> int:
        """The lowest block that carries an adapter; the depth where none does.

        All blocks below it are the frozen prefix: no gradient reaches them.
        """
        return min(self.insertion_layers, default=self.depth)

    def to_dict(self) -> dict[str, Any]:
        """Return the structure as plain data, alike adapters gathered with their layers."""
        groups = groupby(sorted(self.adapters, key=lambda a: (_order(a)[0], _alike(a))), _alike)
        adapters = []
        for (role, kind, rank, _), members in groups:
            same = sorted(members, key=_order)
            entry: dict[str, Any] = {"role": role, "kind": kind, "rank": rank}
            if same[0].alpha is not None:
                entry["alpha"] = same[0].alpha
            adapters.append(entry | {"layers": [adapter.layer for adapter in same]})
        return {"depth": self.depth, "pooling": self.pooling, "adapters": adapters}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "AdapterSpec":
        """Return the structure that `to_dict` wrote.

        Raises:
            ValueError: a key is missing, unknown or of the wrong type, or the structure breaks
                a rule.
        """
        _check_keys(data, {"depth": int, "pooling": str, "adapters": list}, "a structure")
        adapters = []
        for entry in data["adapters"]:
            wanted = {"role": str, "kind": str, "rank": int, "layers": list}
            optional = {"alpha": (int, float)}
            _check_keys(entry, wanted, "an adapter", optional)
            fields = {name: value for name, value in entry.items() if name != "layers"}
            for layer in entry["layers"]:
                if not _is(layer, int):
                    raise ValueError(f"`layers` of an adapter holds integers, but got {layer!r}.")
                adapters.append(Adapter(layer=layer, **fields))
        return cls(depth=data["depth"], pooling=data["pooling"], adapters=tuple(adapters))

    def to_json(self) -> str:
        """Return the one canonical JSON text of this structure."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "AdapterSpec":
        """Return the structure that `to_json` wrote. Raises ValueError as `from_dict` does."""
        return cls.from_dict(json.loads(text))

    def describe(self) -> str:
        """Return the structure in words, for tables and hover texts."""
        by_layers: dict[tuple[int, ...], list[str]] = {}
        for entry in self.to_dict()["adapters"]:
            name = f"{entry['kind']} {entry['role']} r{entry['rank']}"
            by_layers.setdefault(tuple(entry["layers"]), []).append(name)
        parts = [f"depth {self.depth}"]
        for layers, names in sorted(by_layers.items()):
            parts.append(f"{_layers_in_words(layers)}: {', '.join(names)}")
        if not by_layers:
            parts.append("head only")
        return "; ".join([*parts, f"{self.pooling} pooling"])


def _layers_in_words(layers: tuple[int, ...]) -> str:
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if layers == tuple(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]}-{layers[-1]}"
    return f"layers {','.join(map(str, layers))}"


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_keys(
    data: object,
    wanted: Mapping[str, type],
    what: str,
    optional: Mapping[str, tuple[type, ...]] | None = None,
) -> None:
    """Raise ValueError unless `data` is a mapping with the wanted keys and types."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} is a mapping, but got {type(data).__name__}.")
    allowed: dict[str, type | tuple[type, ...]] = {**wanted, **(optional or {})}
    for name in wanted:
        if name not in data:
            raise ValueError(f"{what} has the key `{name}`, but it is missing.")
    for name, value in data.items():
        if name not in allowed:
            raise ValueError(f"{what} has no key `{name}`." + close_matches(str(name), allowed))
        if not _is(value, allowed[name]):
            raise ValueError(f"`{name}` of {what} has the wrong type: {value!r}.")
