"""The parts of a structure in words, for a format that says which it cannot express."""

from collections.abc import Callable

from space.adapter import Adapter
from space.spec import AdapterSpec

WAY_OUT = "Use `--format bundle`, which holds every structure, or `--format onnx`."


def not_blocks(spec: AdapterSpec) -> str | None:
    """Return what of a structure stands beside the blocks or leads past them; None: nothing."""
    if spec.side is not None:
        return f"its side network of width {spec.side.width} is no part of a transformers model"
    if spec.skips:
        layers = ", ".join(str(skip.layer) for skip in spec.skips)
        return f"tokens pass by its blocks {layers} (token_keep), which transformers has no form of"
    if spec.exits:
        depths = ", ".join(map(str, spec.exits))
        return f"it has early exits (behind {depths} blocks), which transformers has no form of"
    return None


def first_where(spec: AdapterSpec, holds: Callable[[Adapter], bool]) -> str | None:
    """Return the first adapter for which something holds, in words; None: there is none."""
    return next((in_words(adapter) for adapter in spec.adapters if holds(adapter)), None)


def in_words(adapter: Adapter) -> str:
    """Return an adapter with its place, such as `lora at query of block 3`."""
    experts = f" of {adapter.experts} experts" if adapter.experts > 1 else ""
    return f"{adapter.kind}{experts} at {adapter.role} of block {adapter.layer}"
