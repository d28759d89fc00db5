"""Pooling: one vector of the hidden states of a sequence.

Shapes: `B` batch, `N` tokens, `D` width.
"""

import math

import torch
from torch import Tensor, nn


class MeanPooling(nn.Module):
    """The mean over the real tokens."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) and a mask (B, N) of ones at real tokens give (B, D)."""
        weights = mask.to(hidden.dtype).unsqueeze(-1)  # (B, N, 1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)


class ClsPooling(nn.Module):
    """The first token, which BERT-like models reserve for this."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) gives (B, D); the mask (B, N) is not needed."""
        return hidden[:, 0]


class LastPooling(nn.Module):
    """The last real token: in a causal backbone the only one that has seen all the others."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) and a mask (B, N) of ones at real tokens, padded on the right, give (B, D)."""
        last = mask.long().sum(1).clamp(min=1) - 1  # (B,)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]


class AttentionPooling(nn.Module):
    """A learned query over the tokens; begins as the mean.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) and a mask (B, N) of ones at real tokens give (B, D)."""
        scores = hidden @ self.query / math.sqrt(hidden.shape[-1])  # (B, N)
        scores = scores.masked_fill(mask == 0, -torch.inf)
        weights = scores.softmax(-1).unsqueeze(1)  # (B, 1, N)
        return (weights @ hidden).squeeze(1)


def build_pooling(name: str, width: int) -> nn.Module:
    """Return the pooling of this name (one of space.spec.POOLINGS but `none`)."""
    if name == "attention":
        return AttentionPooling(width)
    return {"mean": MeanPooling, "cls": ClsPooling, "last": LastPooling}[name]()
