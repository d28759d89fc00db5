"""A structure as a user without Paradapt builds it: PEFT for LoRA, the other kinds by hand.

BERT-like backbones in float32 with transformers' default attention, cut to a depth by slicing the
list of blocks. Shapes: `B` batch, `N` tokens, `D` width.
"""

import math
from collections.abc import Mapping
from typing import Any

import peft
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from space.adapter import Adapter
from space.spec import AdapterSpec

PATHS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
}
ENDS = {
    "attention": ("attention.self.query", "attention.output.dense"),
    "ffn": ("intermediate.dense", "output.dense"),
}
"""First and last linear layer of each sub-layer."""


class Beside(nn.Module):
    """scale * up(act(down(x))): what an adapter made by hand adds."""

    def __init__(self, d_in: int, d_out: int, rank: int, activation: Any, scale: float) -> None:
        super().__init__()
        self.down = nn.Linear(d_in, rank)
        self.up = nn.Linear(rank, d_out)
        self.activation = activation
        self.scale = scale
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(self.activation(self.down(x)))


class AllExperts(nn.Module):
    """Every expert for every token; those that the router did not choose count nothing."""

    def __init__(self, d_in: int, n_experts: int, top_k: int, experts: list[Beside]) -> None:
        super().__init__()
        self.router = nn.Linear(d_in, n_experts, bias=False)
        self.experts = nn.ModuleList(experts)
        self.top_k = top_k
        self.mask: Tensor | None = None
        self.balance: Tensor | None = None
        nn.init.normal_(self.router.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.router(x).softmax(-1)  # (B, N, E)
        top, chosen = shares.topk(self.top_k, dim=-1)
        gates = torch.zeros_like(shares).scatter(
            -1, chosen, top / top.sum(-1, keepdim=True).detach()
        )
        self.balance = self._balance(shares, gates)
        return sum(gates[..., e : e + 1] * expert(x) for e, expert in enumerate(self.experts))

    def _balance(self, shares: Tensor, gates: Tensor) -> Tensor:
        """Return the loss of Fedus et al. 2021 that keeps experts evenly loaded."""
        assert self.mask is not None
        real = self.mask.bool()
        load = (gates[real] > 0).float().mean(0) / self.top_k
        return len(self.experts) * (load * shares[real].mean(0)).sum()


class PlainModel(nn.Module):
    """Backbone, adapters, pooling and a linear head."""

    def __init__(self, folder: str, spec: AdapterSpec, n_labels: int) -> None:
        super().__init__()
        check_plain(spec)
        backbone = AutoModel.from_pretrained(
            folder, dtype=torch.float32, add_pooling_layer=False, local_files_only=True
        )
        backbone.encoder.layer = backbone.encoder.layer[: spec.depth]
        backbone.requires_grad_(False)
        layers = list(backbone.encoder.layer)
        width = backbone.config.hidden_size
        self.backbone = with_lora(backbone, spec)
        self.by_hand = nn.ModuleDict()
        for adapter in spec.adapters:
            if adapter.kind != "lora" or adapter.experts > 1:
                module = hand_made(adapter, layers[adapter.layer])
                self.by_hand[f"{adapter.layer}_{adapter.role}"] = module
                hook_in(layers[adapter.layer], adapter, module)
        self.pooling = spec.pooling
        self.head = nn.Linear(width, n_labels)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        for experts in self.sparse():
            experts.mask = attention_mask
        out = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        hidden = out.last_hidden_state
        if self.pooling == "cls":
            return self.head(hidden[:, 0])
        mask = attention_mask.unsqueeze(-1).float()
        return self.head((hidden * mask).sum(1) / mask.sum(1))

    def sparse(self) -> list[AllExperts]:
        return [m for m in self.by_hand.values() if isinstance(m, AllExperts)]


def check_plain(spec: AdapterSpec) -> None:
    """Raise ValueError where a structure holds what the plain loop was not written for."""
    for adapter in spec.adapters:
        if adapter.kind not in ("lora", "bottleneck", "parallel") or adapter.router == "sequence":
            raise ValueError(f"The plain loop has no {adapter}.")
    if spec.skips or spec.exits or spec.pooling not in ("mean", "cls"):
        raise ValueError(f"The plain loop has no such structure: {spec.describe()}.")


def with_lora(backbone: nn.Module, spec: AdapterSpec) -> nn.Module:
    """Return the backbone with PEFT's LoRA at every layer that a plain LoRA serves."""
    served: dict[str, Adapter] = {
        f"encoder.layer.{a.layer}.{PATHS[a.role]}": a
        for a in spec.adapters
        if a.kind == "lora" and a.experts == 1
    }
    if not served:
        return backbone
    config = peft.LoraConfig(
        target_modules=list(served),
        rank_pattern=patterns({path: a.rank for path, a in served.items()}),
        alpha_pattern=patterns({path: a.alpha for path, a in served.items()}),
        use_rslora=any(a.scaling == "alpha/sqrt(rank)" for a in served.values()),
    )
    return peft.get_peft_model(backbone, config)


def patterns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return PEFT's patterns: it matches the end of a path, so that each is anchored."""
    return {"^" + path.replace(".", r"\."): value for path, value in values.items()}


def hand_made(adapter: Adapter, layer: nn.Module) -> nn.Module:
    """Return the module of an adapter that PEFT does not have."""
    d_in, d_out = widths(adapter, layer)
    assert adapter.rank is not None
    activation = {"lora": nn.Identity(), "parallel": functional.relu, "bottleneck": functional.gelu}
    parts = [
        Beside(d_in, d_out, adapter.rank, activation[adapter.kind], adapter.scale)
        for _ in range(adapter.experts)
    ]
    if adapter.kind == "lora":
        for part in parts:
            part.down.bias, part.up.bias = None, None
            nn.init.kaiming_uniform_(part.down.weight, a=math.sqrt(5))
    if adapter.experts == 1:
        return parts[0]
    return AllExperts(d_in, adapter.experts, adapter.top_k, parts)


def widths(adapter: Adapter, layer: nn.Module) -> tuple[int, int]:
    """Return (input width, output width) of the module that serves an adapter's role."""
    if adapter.role in PATHS:
        linear: Any = layer.get_submodule(PATHS[adapter.role])
        return linear.in_features, linear.out_features
    first: Any = layer.get_submodule(ENDS[adapter.role][0])
    last: Any = layer.get_submodule(ENDS[adapter.role][1])
    d_in = last.out_features if adapter.kind == "bottleneck" else first.in_features
    return d_in, last.out_features


def hook_in(layer: nn.Module, adapter: Adapter, module: nn.Module) -> None:
    """Let a module add to what its place gives: beside a layer, behind or across a sub-layer."""
    if adapter.kind == "lora":
        linear = layer.get_submodule(PATHS[adapter.role])
        linear.register_forward_hook(lambda _m, inputs, y: y + module(inputs[0]))
        return
    first, last = (layer.get_submodule(path) for path in ENDS[adapter.role])
    if adapter.kind == "bottleneck":
        last.register_forward_hook(lambda _m, _inputs, y: y + module(y))
        return
    kept: list[Tensor] = []
    first.register_forward_pre_hook(lambda _m, inputs: kept.append(inputs[0]))
    last.register_forward_hook(lambda _m, _inputs, y: y + module(kept.pop()))
