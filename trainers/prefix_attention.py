"""Attention with a prefix, for every family that calls transformers' attention function.

The attention module of a block is copied (its attribute table, no tensors), gets the prefix, and
names another attention function in its config. Masks are made by the model, whose config stays
as it is.

Shapes: `B` batch, `H` heads, `G` heads of keys, `N` tokens, `P` prefix vectors, `d` head size.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_utils import AttentionInterface

from trainers.adapters.prefix import Prefix

NAME = "paradapt_prefix"


def with_prefix(attention: nn.Module, prefix: Prefix) -> nn.Module:
    """Return a view of an attention module that attends to a prefix too.

    Args:
        attention: of a family whose attention goes through transformers' interface; left as it is.
        prefix: its keys are as wide as the module's.
    """
    view = copy.copy(attention)
    view._modules = dict(attention._modules)
    view._modules["prefix"] = prefix
    config: Any = copy.copy(attention.config)
    config._attn_implementation = NAME
    view.__dict__["config"] = config
    return view


def prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    **_others: Any,
) -> tuple[Tensor, Tensor]:
    """Return what each query reads of prefix and tokens (B, N, H, d), and the weights.

    All is float32, as backbones are, so that the softmax needs no wider type of its own.

    Args:
        module: carries the prefix.
        query: (B, H, N, d).
        key: (B, G, N, d); H / G queries share one.
        value: like key.
        attention_mask: added to the tokens' scores, (B, 1, N, N); None: nothing is hidden.
        scaling: of the scores; None: one over the root of d.
        position_bias: added to the tokens' scores, (1 or B, H, N, N).
        softcap: bounds the scores smoothly, before anything is added; None: no bound.
        _others: what the mask holds already (windows), and dropout, which is 0 in eval mode.
    """
    prefix = module.prefix
    assert isinstance(prefix, Prefix)
    n_prefix = len(prefix.key)
    own_keys, own_values = (_per_head(vectors, key) for vectors in prefix())
    keys = _shared_out(torch.cat([own_keys, key], 2), query.shape[1])  # (B, H, P + N, d)
    values = _shared_out(torch.cat([own_values, value], 2), query.shape[1])
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ keys.transpose(2, 3) * scale  # (B, H, N, P + N)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    for added in (position_bias, attention_mask):
        if added is not None:
            scores = scores + functional.pad(added, (n_prefix, 0))
    weights = scores.softmax(-1)
    if prefix.gate < 1:
        # A softmax of its own: the tokens' share of the other is 0 where a prefix wins the row.
        alone = functional.pad(scores[..., n_prefix:].softmax(-1), (n_prefix, 0))
        weights = torch.lerp(alone, weights, prefix.gate)
    return (weights @ values).transpose(1, 2).contiguous(), weights


def _per_head(vectors: Tensor, like: Tensor) -> Tensor:
    """Return vectors (P, G x d) as keys or values of every row: (B, G, P, d)."""
    n_rows, n_heads, _, size = like.shape
    return vectors.view(len(vectors), n_heads, size).transpose(0, 1).expand(n_rows, -1, -1, -1)


def _shared_out(keys: Tensor, n_heads: int) -> Tensor:
    """Return (B, G, M, d) with each key once for every query head that shares it: (B, H, M, d)."""
    repeats = n_heads // keys.shape[1]
    return keys if repeats == 1 else keys.repeat_interleave(repeats, dim=1)


AttentionInterface.register(NAME, prefix_attention)
