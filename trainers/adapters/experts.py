"""Sparse experts: several small adapters of which a router picks a few for each token.

Shapes: `B` batch, `N` tokens, `T` = B * N, `I` input width, `O` output width, `E` experts,
`K` active experts, `R` rank.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.expert_ways import WAYS, Activation, Weights
from trainers.passing import Pass

ACTIVATIONS: dict[str, Activation] = {
    "identity": lambda x: x,
    "gelu": functional.gelu,
    "relu": functional.relu,
}


class Experts(nn.Module):
    """sum over the chosen e of gate_e * (up_e act(down_e x + b_e) + c_e).

    The router's softmax over all experts gives the gates: the K greatest, divided by their sum. The
    sum counts as a constant in the gradient, so that a single chosen expert, whose gate is one,
    teaches its router too. No token is dropped. Starts as zero: `up` and the biases are.

    Args:
        d_in: I.
        d_out: O.
        rank: R, of each expert.
        n_experts: E.
        top_k: K.
        router: `token`, or `sequence`: all tokens of a row have the experts of their mean.
        activation: name of what stands between the two matrices.
        bias: whether they have biases.
        way: how it is computed (trainers/expert_ways.py).
        running: tells which tokens are padding.
    """

    counts: Tensor
    entropy: Tensor

    def __init__(
        self,
        d_in: int,
        d_out: int,
        rank: int,
        *,
        n_experts: int,
        top_k: int,
        router: str,
        activation: str,
        bias: bool,
        way: str,
        running: Pass,
    ) -> None:
        super().__init__()
        self.n_experts, self.top_k, self.per_sequence = n_experts, top_k, router == "sequence"
        self.router = nn.Linear(d_in, n_experts, bias=False)
        self.down = nn.Parameter(torch.empty(n_experts, rank, d_in))  # (E, R, I)
        self.up = nn.Parameter(torch.zeros(n_experts, d_out, rank))  # (E, O, R)
        self.down_bias = nn.Parameter(torch.zeros(n_experts, rank)) if bias else None
        self.up_bias = nn.Parameter(torch.zeros(n_experts, d_out)) if bias else None
        self.activation = ACTIVATIONS[activation]
        self.way = WAYS[way]
        self.running = running
        self.balance: Tensor | None = None
        self.register_buffer("counts", torch.zeros(n_experts, dtype=torch.float64), False)
        self.register_buffer("entropy", torch.zeros((), dtype=torch.float64), False)
        nn.init.normal_(self.router.weight, std=0.02)
        nn.init.uniform_(self.down, -1 / math.sqrt(d_in), 1 / math.sqrt(d_in))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the experts add: (B, N, I) gives (B, N, O)."""
        shares, top, chosen = self.route(x)
        gates = top / top.sum(-1, keepdim=True).detach()
        if self._are_tokens(x):
            self._note(shares, chosen, self.running.mask)
        n_rows, n_tokens, _ = x.shape
        if self.per_sequence:
            gates = gates.expand(-1, n_tokens, -1)
            chosen = chosen.expand(-1, n_tokens, -1)
        weights = Weights(
            down=self.down,
            up=self.up,
            down_bias=self.down_bias,
            up_bias=self.up_bias,
            activation=self.activation,
        )
        # Autocast knows single products, not the grouped ones and the lookups of the ways.
        kind, flat = _precision(x), x.reshape(n_rows * n_tokens, -1)
        out = self.way(
            flat.to(kind), gates.flatten(0, 1).to(kind), chosen.flatten(0, 1), weights.to(kind)
        )
        return out.view(n_rows, n_tokens, -1)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the router decides: (B, N, I) gives three tensors.

        The share of each expert (B, N, E), and of the chosen ones the shares and the numbers
        (B, N, K), greatest first; N is 1 where a row's tokens all have the experts of their mean.
        """
        mask = self.running.mask if self._are_tokens(x) else None
        shares = self.router(_row_means(x, mask) if self.per_sequence else x).softmax(-1)
        top, chosen = shares.topk(self.top_k, dim=-1)
        return shares, top, chosen

    def routing(self) -> dict[str, Any]:
        """Return the share of the choices that fell on each expert, and the routers' entropy.

        The entropy is the mean over what was routed, in nats: 0 where the router is sure, log E
        where it has no preference.
        """
        n_routed = max(self.counts.sum().item() / self.top_k, 1.0)
        return {
            "load": (self.counts / self.counts.sum().clamp(min=1.0)).tolist(),
            "entropy": self.entropy.item() / n_routed,
        }

    def reset_routing(self) -> None:
        """Forget what was routed."""
        self.counts.zero_()
        self.entropy.zero_()

    def _are_tokens(self, x: Tensor) -> bool:
        """Return whether these are the rows' tokens; DeBERTa also sends its relative positions
        through queries and keys."""
        mask = self.running.mask
        return mask is None or mask.shape == x.shape[:2]

    def _note(self, shares: Tensor, chosen: Tensor, mask: Tensor | None) -> None:
        """Keep the loss that balances the load in training, and the statistics otherwise."""
        shares, chosen = shares.flatten(0, 1), chosen.flatten(0, 1)
        if mask is None or self.per_sequence:
            real = shares.new_ones(len(shares))
        else:
            real = mask.flatten().to(shares.dtype)
        ones = real.unsqueeze(1).expand_as(chosen)
        counts = shares.new_zeros(len(shares), self.n_experts).scatter(1, chosen, ones).sum(0)
        if self.training:
            # Fedus et al. 2021 (arXiv 2101.03961): least where all experts are chosen alike.
            load = counts / counts.sum().clamp(min=1.0)
            mean_share = (shares * real.unsqueeze(1)).sum(0) / real.sum().clamp(min=1.0)
            self.balance = self.n_experts * (load * mean_share).sum()
            return
        with torch.no_grad():
            self.balance = None
            self.counts += counts
            entropy = -(shares * shares.clamp(min=1e-30).log()).sum(1)
            self.entropy += (entropy * real).sum()


def _precision(x: Tensor) -> torch.dtype:
    """Return in which precision products with `x` run: autocast's, where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _row_means(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over the real tokens of each row: (B, N, I) gives (B, 1, I)."""
    if mask is None:
        return x.mean(1, keepdim=True)
    weights = mask.to(x.dtype).unsqueeze(-1)
    return (x * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1.0)
