"""Look into a model while it runs, without changing what it gives.

A view of a module shares its table of hooks with the frozen module that it was made of, and so with
all other views: hooks are deaf but in the pass that is looked into.

Shapes: `B` batch, `N` tokens, `K` tokens that run through a block which others pass by.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainers.adapted import AdaptedModel
from trainers.backbone import Backbone
from trainers.data import Batch
from trainers.explain.running import blocks_of
from trainers.explain.tokens import Tokens
from trainers.wrappers import Around


@dataclass(frozen=True, kw_only=True)
class Looked:
    """The batch that runs while a model is looked into."""

    identities: Tensor
    """(B, N): what each token is."""
    real: Tensor
    """(B, N): whether it is none of padding."""
    classes: Tensor
    """(B, C), or (B, N, C) where tokens have labels: 1.0 where it belongs to a class."""


def looked(batch: Batch, tokens: Tokens, classes: Tensor) -> Looked:
    """Return what is known of a batch."""
    identities = tokens.identities(batch)
    mask = batch.inputs.get("attention_mask")
    real = torch.ones_like(identities, dtype=torch.bool) if mask is None else mask.bool()
    return Looked(identities=identities, real=real, classes=classes)


class Watcher:
    """Hooks on the modules of one model, which listen only within `over`.

    Args:
        model: left as it is once `close` was called.
        backbone: what it stands on.
    """

    def __init__(self, model: AdaptedModel, backbone: Backbone) -> None:
        self.model = model
        self.backbone = backbone
        self._looked: Looked | None = None
        self._deaf = False
        self._handles: list[RemovableHandle] = []

    @contextmanager
    def over(self, batch: Looked) -> Iterator[None]:
        """Listen to the passes of this batch."""
        self._looked = batch
        try:
            yield
        finally:
            self._looked = None

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Hear nothing of what runs within."""
        before, self._deaf = self._deaf, True
        try:
            yield
        finally:
            self._deaf = before

    def after(
        self, module: nn.Module, note: Callable[[tuple[Any, ...], dict[str, Any], Any], None]
    ) -> None:
        """Call `note(arguments, named arguments, result)` after each run of a module."""

        def hook(_module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            if self._looked is not None and not self._deaf:
                note(args, kwargs, result)

        self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def close(self) -> None:
        """Take all hooks away."""
        for handle in self._handles:
            handle.remove()

    @property
    def batch(self) -> Looked:
        """The batch that runs."""
        assert self._looked is not None
        return self._looked

    def kept(self) -> tuple[Tensor, Tensor] | None:
        """Return of the tokens that run through the present block their places in the rows, and
        which are none of padding, (B, K) each; None where all tokens run."""
        places, mask = self.model.running.tokens, self.model.running.mask
        if places is None:
            return None
        assert mask is not None
        return places, mask.bool()

    def present(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is known of the tokens that run through the present block.

        Their identities (B, K), whether they are real (B, K), and their classes, (B, C) or
        (B, K, C).
        """
        batch, kept = self.batch, self.kept()
        if kept is None:
            return batch.identities, batch.real, batch.classes
        places, real = kept
        classes = batch.classes
        if classes.dim() == 3:
            classes = classes.gather(1, places.unsqueeze(-1).expand(-1, -1, classes.shape[-1]))
        return batch.identities.gather(1, places), real, classes


def innermost(model: AdaptedModel, backbone: Backbone, layer: int) -> nn.Module:
    """Return a block with the adapters in it, without what stands around it."""
    block = blocks_of(model, backbone)[layer]
    while isinstance(block, Around):
        block = block.base
    return block
