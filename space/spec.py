"""A structure as plain data: which adapters stand where, and how deep the backbone runs."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from space.adapter import Adapter, TokenSkip
from space.errors import close_matches
from space.roles import ROLES
from space.side import Side

POOLINGS = ("mean", "cls", "last", "attention", "none")
"""Ways to make one vector of a sequence: the mean, the first token, the last one, a learned query;
or none, where the head answers for every token."""


def _order(adapter: Adapter) -> tuple[int, int]:
    return (ROLES.index(adapter.role), adapter.layer)


def _shared(adapter: Adapter) -> dict[str, Any]:
    """Return what adapters have in common that are written as one entry, without defaults."""
    fields: dict[str, Any] = {"role": adapter.role, "kind": adapter.kind}
    if adapter.rank is not None:
        fields["rank"] = adapter.rank
    if adapter.alpha is not None:
        fields["alpha"] = adapter.alpha
    if adapter.scaling != "alpha/rank":
        fields["scaling"] = adapter.scaling
    if adapter.experts > 1:
        fields |= {"experts": adapter.experts, "top_k": adapter.top_k, "router": adapter.router}
    return fields


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """One structure of the search space: hashable, and with one spelling only.

    Equal structures compare equal and have the same JSON, whatever the order in which their
    parts were given. A structure without adapters is a head on the frozen backbone.

    Raises:
        ValueError: a depth below 1, an adapter, skip, exit or boundary above the depth, two at
            one place, anything in the blocks beside a side network, or an unknown pooling.
    """

    depth: int
    """How many blocks of the backbone run."""
    adapters: tuple[Adapter, ...] = ()
    pooling: str = "mean"
    skips: tuple[TokenSkip, ...] = ()
    """Blocks that a share of the tokens passes by."""
    exits: tuple[int, ...] = ()
    """Early exits: behind so many blocks a small head may answer, and the rest is not run."""
    side: Side | None = None
    """A network beside the blocks, which then hold nothing that is trained."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"A depth is at least 1, but got {self.depth}.")
        if self.pooling not in POOLINGS:
            raise ValueError(
                f"A pooling is one of {', '.join(POOLINGS)}, but got {self.pooling!r}."
                + close_matches(self.pooling, POOLINGS)
            )
        for layer in [a.layer for a in self.adapters] + [s.layer for s in self.skips]:
            if layer >= self.depth:
                raise ValueError(
                    f"An insertion layer lies below the depth {self.depth},"
                    f" but got {layer} (blocks count from 0)."
                )
        for exit_depth in self.exits:
            if not 1 <= exit_depth < self.depth:
                raise ValueError(
                    f"An exit stands behind 1 to {self.depth - 1} blocks where {self.depth} run,"
                    f" but got {exit_depth}."
                )
        self._check_side()
        _check_distinct(
            "One adapter serves a role of a block",
            [f"layer {a.layer} has two at {a.role!r}" for a in self.adapters],
        )
        _check_distinct(
            "A block has one token_keep", [f"layer {s.layer} has two" for s in self.skips]
        )
        _check_distinct("A depth has one exit", [f"depth {e} has two" for e in self.exits])
        object.__setattr__(self, "adapters", tuple(sorted(self.adapters, key=_order)))
        object.__setattr__(self, "skips", tuple(sorted(self.skips, key=lambda s: s.layer)))
        object.__setattr__(self, "exits", tuple(sorted(self.exits)))

    def _check_side(self) -> None:
        if self.side is None:
            return
        for what, parts in (
            ("adapters", self.adapters),
            ("skips", self.skips),
            ("exits", self.exits),
        ):
            if parts:
                raise ValueError(
                    f"A structure with a side network has no {what}: all its blocks are frozen"
                    f" and run whole; but got {len(parts)}."
                )
        if self.side.boundaries[-1] > self.depth:
            raise ValueError(
                f"A side network reads behind 1 to {self.depth} blocks where {self.depth} run,"
                f" but got a boundary of {self.side.boundaries[-1]}."
            )

    @property
    def insertion_layers(self) -> tuple[int, ...]:
        """The blocks that carry adapters at their roles, lowest first."""
        return tuple(sorted({adapter.layer for adapter in self.adapters}))

    @property
    def first_insertion_layer(self) -> int:
        """The lowest block that anything trained stands in or beside; the depth where none does.

        All blocks below it are the frozen prefix: no gradient reaches them.
        """
        skipped = {skip.layer for skip in self.skips}
        return min(skipped.union(self.insertion_layers), default=self.depth)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """What is read of the frozen prefix: the hidden states behind so many blocks.

        They depend on the backbone alone, and so can be cached. Lowest first.
        """
        top = self.first_insertion_layer
        read = self.exits if self.side is None else self.side.boundaries
        return tuple(sorted({top, *(boundary for boundary in read if boundary <= top)} - {0}))

    @property
    def head_only(self) -> bool:
        """Whether nothing is trained but the heads."""
        return not (self.adapters or self.skips or self.side)

    def skip_at(self, layer: int) -> TokenSkip | None:
        """Return how tokens pass by a block, or None where all run through it."""
        return next((skip for skip in self.skips if skip.layer == layer), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the structure as plain data, alike parts gathered with their layers."""
        data: dict[str, Any] = {"depth": self.depth, "pooling": self.pooling}
        adapters = [(_order(a)[0], _shared(a), a.layer) for a in self.adapters]
        data["adapters"] = _gathered(adapters)
        if self.skips:
            skips = [(0, {"token_keep": s.token_keep, "rank": s.rank}, s.layer) for s in self.skips]
            data["skips"] = _gathered(skips)
        if self.exits:
            data["exits"] = list(self.exits)
        if self.side is not None:
            data["side"] = {"width": self.side.width, "boundaries": list(self.side.boundaries)}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "AdapterSpec":
        """Return the structure that `to_dict` wrote.

        Raises:
            ValueError: a key is missing, unknown or of the wrong type, or the structure breaks
                a rule.
        """
        wanted: dict[str, Any] = {"depth": int, "pooling": str, "adapters": list}
        optional = {"skips": (list,), "exits": (list,), "side": (dict,)}
        _check_keys(data, wanted, "a structure", optional)
        adapters = [
            Adapter(layer=layer, **fields)
            for entry in data["adapters"]
            for fields, layer in _spread(entry, "an adapter", _ADAPTER_KEYS, _ADAPTER_OPTIONS)
        ]
        skips = [
            TokenSkip(layer=layer, **fields)
            for entry in data.get("skips", ())
            for fields, layer in _spread(entry, "a skip", {"token_keep": float, "rank": int}, {})
        ]
        for exit_depth in data.get("exits", ()):
            if not _is(exit_depth, int):
                raise ValueError(f"`exits` holds integers, but got {exit_depth!r}.")
        return cls(
            depth=data["depth"],
            pooling=data["pooling"],
            adapters=tuple(adapters),
            skips=tuple(skips),
            exits=tuple(data.get("exits", ())),
            side=_side_of(data["side"]) if "side" in data else None,
        )

    def to_json(self) -> str:
        """Return the one canonical JSON text of this structure."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "AdapterSpec":
        """Return the structure that `to_json` wrote. Raises ValueError as `from_dict` does."""
        return cls.from_dict(json.loads(text))

    def describe(self) -> str:
        """Return the structure in words, for tables and hover texts."""
        data = self.to_dict()
        by_layers: dict[tuple[int, ...], list[str]] = {}
        for entry in data["adapters"]:
            by_layers.setdefault(tuple(entry["layers"]), []).append(_adapter_in_words(entry))
        parts = [f"depth {self.depth}"]
        for layers, names in sorted(by_layers.items()):
            parts.append(f"{_layers_in_words(layers)}: {', '.join(names)}")
        for entry in data.get("skips", ()):
            where = _layers_in_words(tuple(entry["layers"]))
            parts.append(f"{entry['token_keep']:.0%} of tokens in {where} (r{entry['rank']})")
        if self.side is not None:
            read = _numbers_in_words(self.side.boundaries)
            parts.append(f"side network of width {self.side.width}, reading behind {read}")
        if self.head_only:
            parts.append("head only")
        if self.exits:
            parts.append(f"exits behind {', '.join(map(str, self.exits))}")
        if self.pooling != "none":
            parts.append(f"{self.pooling} pooling")
        return "; ".join(parts)


_ADAPTER_KEYS: dict[str, Any] = {"role": str, "kind": str}
_ADAPTER_OPTIONS: dict[str, tuple[type, ...]] = {
    "rank": (int,),
    "alpha": (int, float),
    "scaling": (str,),
    "experts": (int,),
    "top_k": (int,),
    "router": (str,),
}


def _gathered(parts: list[tuple[int, dict[str, Any], int]]) -> list[dict[str, Any]]:
    """Gather alike (order, fields, layer) into one entry with its layers, in canonical order."""

    def alike(part: tuple[int, dict[str, Any], int]) -> tuple[int, int, str]:
        order, fields, _ = part
        return (order, fields.get("rank", 0), json.dumps(fields, sort_keys=True))

    groups = (list(group) for _, group in groupby(sorted(parts, key=alike), alike))
    return [group[0][1] | {"layers": sorted(layer for *_, layer in group)} for group in groups]


def _spread(
    entry: object,
    what: str,
    wanted: Mapping[str, type],
    optional: Mapping[str, tuple[type, ...]],
) -> list[tuple[dict[str, Any], int]]:
    """Return (fields, layer) for each layer of an entry that `_gathered` wrote."""
    _check_keys(entry, {**wanted, "layers": list}, what, optional)
    assert isinstance(entry, Mapping)
    fields = {name: value for name, value in entry.items() if name != "layers"}
    for layer in entry["layers"]:
        if not _is(layer, int):
            raise ValueError(f"`layers` of {what} holds integers, but got {layer!r}.")
    return [(fields, layer) for layer in entry["layers"]]


def _side_of(data: Mapping[str, Any]) -> Side:
    _check_keys(data, {"width": int, "boundaries": list}, "a side network", {})
    for boundary in data["boundaries"]:
        if not _is(boundary, int):
            raise ValueError(f"`boundaries` holds integers, but got {boundary!r}.")
    return Side(width=data["width"], boundaries=tuple(data["boundaries"]))


def _adapter_in_words(entry: Mapping[str, Any]) -> str:
    words = f"{entry['kind']} {entry['role']}"
    if "rank" in entry:
        words += f" r{entry['rank']}"
    if "experts" in entry:
        words += f" top {entry['top_k']} of {entry['experts']} experts"
        if entry["router"] == "sequence":
            words += " a sequence"
    return words


def _layers_in_words(layers: tuple[int, ...]) -> str:
    return f"layer{'s' * (len(layers) > 1)} {_numbers_in_words(layers)}"


def _numbers_in_words(numbers: tuple[int, ...]) -> str:
    if len(numbers) > 1 and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))


def _check_distinct(rule: str, places: list[str]) -> None:
    for place, n_times in Counter(places).items():
        if n_times > 1:
            raise ValueError(f"{rule}, but {place}.")


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_keys(
    data: object,
    wanted: Mapping[str, type],
    what: str,
    optional: Mapping[str, tuple[type, ...]],
) -> None:
    """Raise ValueError unless `data` is a mapping with the wanted keys and types."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} is a mapping, but got {type(data).__name__}.")
    allowed: dict[str, type | tuple[type, ...]] = {**wanted, **optional}
    for name in wanted:
        if name not in data:
            raise ValueError(f"{what} has the key `{name}`, but it is missing.")
    for name, value in data.items():
        if name not in allowed:
            raise ValueError(f"{what} has no key `{name}`." + close_matches(str(name), allowed))
        if not _is(value, allowed[name]):
            raise ValueError(f"`{name}` of {what} has the wrong type: {value!r}.")
