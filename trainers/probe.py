"""Run an unknown model on a few tokens: how it runs is seen, as its structure does not tell.

Whether blocks run once each and in their order, whether fewer of them run too, which norm stands
behind the last, and whether a token sees later ones.

Shapes: `B` batch, `N` tokens, `D` width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainers.graft import graft
from trainers.image_input import ImageInput

_POOLER = "pooler"
_TOLERANCE = 1e-5
_IDS = ((1, 2, 3, 4), (1, 2, 3, 5))  # alike but for the last token


class ProbeError(Exception):
    """The model does not run in the way that structures on it need; says how."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was seen of a model while it ran."""

    causal: bool
    """Whether the first token does not depend on the last."""
    final_norm: str
    """Path of what stands behind the last block; empty: nothing."""
    n_tokens: int
    """Of the sample."""
    unused: tuple[str, ...]
    """Parts that the hidden states do not need, and that it runs without."""


def sample_of(image: ImageInput | None) -> dict[str, Tensor]:
    """Return the inputs that a model is run on: two rows of tokens, or an image."""
    if image is None:
        ids = torch.tensor(_IDS)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    pixels = torch.linspace(-1, 1, image.n_channels * image.size[0] * image.size[1])
    return {"pixel_values": pixels.view(1, image.n_channels, *image.size)}


@torch.no_grad()
def probe(model: nn.Module, blocks: str, image: ImageInput | None) -> Probe:
    """Run a model, and see.

    Args:
        model: the bare model; left as it is.
        blocks: path of its list of blocks.
        image: what images it reads; None where it reads text.

    Raises:
        ProbeError: it does not run on this alone, or not block after block.
    """
    sample = sample_of(image)
    try:
        last, hidden = _run(model, blocks, sample)
        _run(graft(model, {blocks: _blocks(model, blocks)[:1]}), blocks, sample)
        unused = _unused(model, sample, hidden)
    except ProbeError:
        raise
    except Exception as error:  # Of any model's own code; what it is, the message says.
        what = "token ids" if image is None else "pixels"
        raise ProbeError(
            f"it does not run on {what} alone, or not with fewer blocks ({error!r})"
        ) from error
    return Probe(
        causal=image is None and _alike(hidden[0, 0], hidden[1, 0]),
        final_norm=_between(model, blocks, last, hidden),
        n_tokens=hidden.shape[1],
        unused=unused,
    )


def _unused(model: nn.Module, sample: Mapping[str, Tensor], hidden: Tensor) -> tuple[str, ...]:
    """Return `pooler` where the model has one and gives the same hidden states without it."""
    if dict(model.named_children()).get(_POOLER) is None:
        return ()
    try:
        without = graft(model, {_POOLER: None})(**sample)[0]
    except TypeError:  # It calls its pooler in any case.
        return ()
    return (_POOLER,) if _alike(without, hidden) else ()


def _blocks(model: nn.Module, path: str) -> nn.ModuleList:
    blocks = model.get_submodule(path)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def _run(model: nn.Module, path: str, sample: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the hidden states behind the last block and those that the model returns."""
    blocks = _blocks(model, path)
    order: list[int] = []
    behind: list[Tensor] = []

    def seen(index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_block: nn.Module, args: Any, out: Any) -> None:
            if not (args and isinstance(args[0], Tensor)):
                raise ProbeError("its blocks do not take hidden states as their first argument")
            order.append(index)
            behind.append(out if isinstance(out, Tensor) else out[0])

        return hook

    handles = [block.register_forward_hook(seen(i)) for i, block in enumerate(blocks)]
    try:
        hidden = model(**sample)[0]
    finally:
        for handle in handles:
            handle.remove()
    if order != list(range(len(blocks))):
        raise ProbeError(
            f"its {len(blocks)} blocks run in the order {order}, where each has to run once"
        )
    return behind[-1], hidden


def _between(model: nn.Module, blocks: str, last: Tensor, hidden: Tensor) -> str:
    """Return the path of the module, beside the blocks or above, that makes `hidden` of `last`."""
    if _alike(last, hidden):
        return ""
    parent, _, own = blocks.rpartition(".")
    for above in _and_above(parent):
        for name, module in model.get_submodule(above).named_children():
            if name == own or not _is_norm(module):
                continue
            if _alike(module(last), hidden):
                return f"{above}.{name}".lstrip(".")
    raise ProbeError("what it does to the hidden states behind its last block is no single norm")


def _and_above(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[:n]) for n in range(len(parts), -1, -1)]


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a, b, atol=_TOLERANCE, rtol=_TOLERANCE))
