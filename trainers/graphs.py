"""The loss of a batch, on a GPU from a CUDA graph: two starts of kernels, where there are hundreds.

A small backbone leaves a GPU waiting for the processor, which starts its kernels one by one. A
graph holds all of them for batches of one shape, and is replayed for each batch of that shape
(`torch.cuda.make_graphed_callables`).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from space.cost import CONCATENATED
from trainers.adapted import AdaptedModel
from trainers.adapters import Experts, Prefix
from trainers.collector import collector_paused
from trainers.data import Batch
from trainers.engine import Engine, autocast
from trainers.expert_ways import WAYS
from trainers.steps import with_balance
from trainers.tasks import IGNORED

TOKENS = 16
"""Batches are padded to a multiple of so many tokens, so that few shapes are met."""
TIMED = 2
"""Which batch of a training tells whether the GPU waits."""
BUSY = 1.5
"""A forward pass of which the GPU computes so many times longer than starting it takes keeps the
GPU busy by itself, and a graph would only take memory."""

Losses = tuple[Tensor, Tensor]
"""The task's loss, and what is minimised: the same with what keeps experts evenly loaded."""
Shapes = tuple[tuple[int, ...], ...]


class BatchLoss:
    """The losses of one batch, the mean over all heads, computed as it stands here.

    Args:
        model: the structure.
        loss: of logits and labels.
        engine: how the frozen blocks run.
    """

    def __init__(
        self, model: AdaptedModel, loss: Callable[[Tensor, Tensor], Tensor], engine: Engine
    ) -> None:
        self.model = model
        self._loss = loss
        self._engine = engine

    def __call__(self, batch: Batch) -> Losses:
        with autocast(self._engine, self.model.device):
            answers = self.model.forward_exits(boundaries=batch.boundaries, **batch.inputs)
        loss = torch.stack([self._loss(answer, batch.labels) for answer in answers]).mean()
        return loss, with_balance(self.model, loss)


class GraphedLoss:
    """BatchLoss from CUDA graphs where that is faster, else as it is.

    The first batch of all compiles and loads kernels. The second tells whether the GPU waits. From
    then on a shape has its graph when it is met again.

    Args:
        losses: of a model on a GPU.
        longest: tokens of the longest row: a backbone may have positions for no more.
    """

    def __init__(self, losses: BatchLoss, longest: int) -> None:
        self._losses = losses
        self._longest = longest
        self._graphs: dict[Shapes, Callable[..., Losses]] = {}
        self._met: set[Shapes] = set()
        self._n_batches = 0
        self._pays = True
        # One for all shapes: of their graphs one is run at a time.
        self._pool = torch.cuda.graph_pool_handle()
        # Gradients are added up where their parameter was met first, which may be in a capture.
        # Torch warns that this orders two streams, and so it does: by an event a parameter.
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)

    def __call__(self, batch: Batch) -> Losses:
        # With graphs or without: whoever is faster, answers agree.
        batch = padded(batch, TOKENS, self._longest)
        if not self._pays:
            return self._losses(batch)
        shapes = shapes_of(batch)
        self._n_batches += 1
        if self._n_batches == TIMED:
            self._met.add(shapes)
            return self._timed(batch)
        if shapes not in self._graphs and self._n_batches > TIMED and shapes in self._met:
            self._capture(batch, shapes)
        self._met.add(shapes)
        if shapes not in self._graphs:
            return self._losses(batch)
        loss, minimised = self._graphs[shapes](*tensors_of(batch))
        return loss.clone(), minimised  # the next replay writes where this one's loss is

    def _timed(self, batch: Batch) -> Losses:
        """Run a batch as it is, and see whether the GPU waits for its kernels to be started."""
        torch.cuda.synchronize()
        began = time.perf_counter()
        losses = self._losses(batch)
        started = time.perf_counter()
        torch.cuda.synchronize()
        self._pays = time.perf_counter() - began < BUSY * (started - began)
        return losses

    def _capture(self, batch: Batch, shapes: Shapes) -> None:
        self._losses.model.forget_balance()  # it holds on to the last step
        try:
            with collector_paused():  # graphs of earlier trials must not be freed in a capture
                graph: Any = torch.cuda.make_graphed_callables(
                    _OfTensors(self._losses, batch),
                    tuple(tensor.clone() for tensor in tensors_of(batch)),
                    num_warmup_iters=1,  # batches like it ran before
                    allow_unused_input=True,
                    pool=self._pool,
                )
        except RuntimeError:
            # A backbone that asks the GPU for a value on its way, or no memory for a graph.
            self._pays = False
            torch.cuda.synchronize()
            return
        self._graphs[shapes] = graph


class _OfTensors(nn.Module):
    """BatchLoss of the tensors of batches like one that is given, as a graph takes them."""

    def __init__(self, losses: BatchLoss, like: Batch) -> None:
        super().__init__()
        self.model = losses.model  # a graph asks its module for what is trained
        self._losses = losses
        self._names = list(like.inputs)
        self._boundaries = list(like.boundaries)

    def forward(self, labels: Tensor, *tensors: Tensor) -> Losses:
        n_inputs = len(self._names)
        inputs = dict(zip(self._names, tensors[:n_inputs], strict=True))
        boundaries = dict(zip(self._boundaries, tensors[n_inputs:], strict=True))
        # Casts must not be kept from one pass to the next: they are part of the graph.
        with torch.autocast(labels.device.type, enabled=False, cache_enabled=False):
            loss, minimised = self._losses(
                Batch(inputs=inputs, labels=labels, boundaries=boundaries)
            )
        return loss.detach(), minimised


def losses_of(
    model: AdaptedModel,
    loss: Callable[[Tensor, Tensor], Tensor],
    engine: Engine,
    longest: int,
) -> Callable[[Batch], Losses]:
    """Return what gives the losses of a training batch, where the model is now.

    Args:
        model: the structure.
        loss: of logits and labels.
        engine: how the frozen blocks run.
        longest: tokens of the longest training row.
    """
    losses = BatchLoss(model, loss, engine)
    if model.device.type == "cuda" and can_be_graphed(model):
        return GraphedLoss(losses, longest)
    return losses


def can_be_graphed(model: AdaptedModel) -> bool:
    """Return whether a step of the structure runs the same kernels whatever the values are.

    Skipped tokens, early exits and sorted experts ask which; prefixes are let in step by step.
    """
    modules = list(model.adapters.modules())
    sorts = any(isinstance(m, Experts) and m.way is not WAYS[CONCATENATED] for m in modules)
    grows = any(isinstance(m, Prefix) for m in modules)
    return not (sorts or grows or model.spec.skips or model.spec.exits)


def padded(batch: Batch, multiple: int, longest: int) -> Batch:
    """Return a batch of texts with its rows filled up to a multiple of so many tokens, or to the
    length of the longest row of all.

    What is filled in is no token: the mask is 0 there, and labels of tokens (B, N), which are whole
    numbers, are not scored. Several labels of a row (B, C) are not of tokens.
    """
    mask = batch.inputs.get("attention_mask")
    if mask is None:
        return batch
    n_tokens = mask.shape[1]
    missing = min(n_tokens + -n_tokens % multiple, longest) - n_tokens
    if missing <= 0:
        return batch

    def filled(tensor: Tensor, filling: int = 0) -> Tensor:
        sides = [0, 0] * (tensor.dim() - 2) + [0, missing]
        return functional.pad(tensor, sides, value=filling)

    labels = batch.labels
    of_tokens = labels.dim() == 2 and not labels.is_floating_point()
    return replace(
        batch,
        inputs={name: filled(tensor) for name, tensor in batch.inputs.items()},
        labels=filled(labels, IGNORED) if of_tokens else labels,
        boundaries={b: filled(states) for b, states in batch.boundaries.items()},
    )


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch in a fixed order: labels, inputs, boundaries."""
    return [batch.labels, *batch.inputs.values(), *batch.boundaries.values()]


def shapes_of(batch: Batch) -> Shapes:
    """Return what two batches must have alike to share a graph."""
    return tuple(tuple(tensor.shape) for tensor in tensors_of(batch))
