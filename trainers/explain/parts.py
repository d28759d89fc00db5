"""What can be switched off in a structure: each adapter, those of a role, of a layer, all."""

from collections import Counter
from dataclasses import dataclass, replace

from space.adapter import Adapter
from space.spec import AdapterSpec

ADAPTER, ROLE, LAYER, ALL, TOKENS, SIDE = "adapter", "role", "layer", "all", "token_keep", "side"
"""What a part is."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something of a structure that is switched off."""

    what: str
    """One of the names above; `token_keep`: all tokens run through the block."""
    name: str
    """In words."""
    layer: int | None
    """Where it is of one layer."""
    role: str | None
    """Where it is of one role."""
    kind: str | None
    """Where it is one adapter."""
    rest: AdapterSpec
    """The structure without it."""
    lowest: int
    """The lowest block that it changes."""


def parts_of(spec: AdapterSpec) -> tuple[Part, ...]:
    """Return every part of a structure; a role or a layer with one adapter is told once."""
    found = [_adapter(spec, adapter) for adapter in spec.adapters]
    roles = Counter(adapter.role for adapter in spec.adapters)
    layers = Counter(adapter.layer for adapter in spec.adapters)
    for role, n in roles.items():
        if 1 < n < len(spec.adapters):
            own = [a for a in spec.adapters if a.role == role]
            found.append(_group(spec, own, ROLE, f"all {n} adapters at {role}", role=role))
    for layer, n in sorted(layers.items()):
        if 1 < n < len(spec.adapters):
            own = [a for a in spec.adapters if a.layer == layer]
            found.append(
                _group(spec, own, LAYER, f"all {n} adapters in layer {layer}", layer=layer)
            )
    if len(spec.adapters) > 1:
        name = f"all {len(spec.adapters)} adapters"
        found.append(_group(spec, list(spec.adapters), ALL, name))
    for skip in spec.skips:
        found.append(
            Part(
                what=TOKENS,
                name=f"token_keep of layer {skip.layer} (all tokens run)",
                layer=skip.layer,
                role=None,
                kind=None,
                rest=replace(spec, skips=tuple(s for s in spec.skips if s != skip)),
                lowest=skip.layer,
            )
        )
    if spec.side is not None:
        found.append(
            Part(
                what=SIDE,
                name="side network",
                layer=None,
                role=None,
                kind=SIDE,
                rest=replace(spec, side=None),
                lowest=0,
            )
        )
    return tuple(found)


def _adapter(spec: AdapterSpec, adapter: Adapter) -> Part:
    name = f"{adapter.kind} {adapter.role} in layer {adapter.layer}"
    part = _group(spec, [adapter], ADAPTER, name, layer=adapter.layer, role=adapter.role)
    return replace(part, kind=adapter.kind)


def _group(
    spec: AdapterSpec,
    gone: list[Adapter],
    what: str,
    name: str,
    *,
    layer: int | None = None,
    role: str | None = None,
) -> Part:
    return Part(
        what=what,
        name=name,
        layer=layer,
        role=role,
        kind=None,
        rest=replace(spec, adapters=tuple(a for a in spec.adapters if a not in gone)),
        lowest=min(adapter.layer for adapter in gone),
    )
