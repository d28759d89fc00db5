"""The deployed model as one ONNX graph: head inside, batch and length left open.

It is traced: torch's exporter by `torch.export` took 45 s for a backbone of four tiny blocks on the
machine where the tracing one took 2 s, and gave the same answers (torch 2.13, November 2026).

Shapes: `B` batch, `N` tokens, `I` input width, `O` output width, `E` experts, `K` active experts,
`R` rank, `D` width.
"""

import copy
import math
import tempfile
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from space.errors import UserError
from trainers.adapters import Experts
from trainers.bundle import LoadedBundle
from trainers.export.format import Source
from trainers.heads import FrozenHead
from trainers.model import AdaptedModel, deploy
from trainers.passing import Pass
from trainers.pooling import AttentionPooling
from trainers.skipping import AtExit, SomeRows

OPSET = 17
"""The oldest one with layer normalisation as an operator."""
ANSWER = "logits"
HEAD = ("/model/head/linear/", "/model/head/pooling/")
"""How the names of the nodes of a trained head begin."""
_LARGEST_FILE = 2**31 - 2**20
"""What one protobuf file can hold, with room for all but the weights."""
_SAMPLE_TOKENS = 7


class _ByName(nn.Module):
    """A model that takes its inputs in an order."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> Any:
        return self.model(**dict(zip(self.names, inputs, strict=True)))


class _GraphExperts(nn.Module):
    """Experts as a graph has them: those of a row are gathered, those of tokens all computed.

    Args:
        experts: shared, and left as they are.
    """

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        self.experts = experts
        # Laid out beforehand: the tracing exporter folds such steps wrongly.
        self.down = experts.down.detach().transpose(1, 2).contiguous()  # (E, I, R)
        self.up = experts.up.detach().transpose(1, 2).contiguous()  # (E, R, O)
        self.all_down = self.down.transpose(0, 1).flatten(1).contiguous()  # (I, E * R)
        self.all_up = self.up.flatten(0, 1)  # (E * R, O)
        self.numbers = torch.arange(experts.n_experts)  # (E,)

    def forward(self, x: Tensor) -> Tensor:
        _, top, chosen = self.experts.route(x)
        gates = top / top.sum(-1, keepdim=True)
        if self.experts.per_sequence:
            return self._of_rows(x, gates, chosen)
        return self._of_tokens(x, gates, chosen)

    def _of_rows(self, x: Tensor, gates: Tensor, chosen: Tensor) -> Tensor:
        """(B, N, I), with gates and the experts of each row (B, 1, K), give (B, N, O)."""
        own, total = self.experts, None
        for place in range(own.top_k):
            expert, gate = chosen[:, 0, place], gates[:, :, place : place + 1]  # (B,), (B, 1, 1)
            low = x @ self.down[expert]  # (B, N, R)
            if own.down_bias is not None:
                low = low + own.down_bias[expert].unsqueeze(1)
            out = (own.activation(low) * gate) @ self.up[expert]  # (B, N, O)
            if own.up_bias is not None:
                out = out + gate * own.up_bias[expert].unsqueeze(1)
            total = out if total is None else total + out
        assert total is not None
        return total

    def _of_tokens(self, x: Tensor, gates: Tensor, chosen: Tensor) -> Tensor:
        """(B, N, I), with gates and the experts of each token (B, N, K), give (B, N, O)."""
        own = self.experts
        held = (chosen.unsqueeze(-1) == self.numbers).to(x.dtype)  # (B, N, K, E)
        spread = (gates.unsqueeze(-1) * held).sum(2)  # (B, N, E)
        low = x @ self.all_down  # (B, N, E * R)
        if own.down_bias is not None:
            low = low + own.down_bias.flatten()
        parted = own.activation(low).view(*x.shape[:2], own.n_experts, -1)  # (B, N, E, R)
        out: Tensor = (parted * spread.unsqueeze(-1)).flatten(2) @ self.all_up  # (B, N, O)
        return out if own.up_bias is None else out + spread @ own.up_bias


class _GraphPooling(nn.Module):
    """Attention pooling with its query as a column: OpenVINO and eight bits know no bare vector.

    Args:
        pooling: shared, and left as it is.
    """

    def __init__(self, pooling: AttentionPooling) -> None:
        super().__init__()
        query = pooling.query.detach()
        self.column = (query / math.sqrt(len(query))).unsqueeze(1)  # (D, 1)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        scores = (hidden @ self.column).masked_fill(mask.unsqueeze(-1) == 0, -torch.inf)
        return (scores.softmax(1) * hidden).sum(1)  # (B, D)


def graph_form(bundle: LoadedBundle) -> AdaptedModel:
    """Return the deployed model as the graph computes it; weights are shared, nothing is changed.

    Early exits are not in it: the last head answers for every row.
    """
    deployed = deploy(bundle.model, bundle.backbone)
    head = deployed.head
    borrowed = head.borrowed.parameters() if isinstance(head, FrozenHead) else ()
    shared = chain(deployed.parameters(), deployed.buffers(), borrowed)
    known: dict[int, Any] = {id(tensor): tensor for tensor in shared}
    model = copy.deepcopy(deployed, known | {id(deployed.running): Pass()})
    for module in list(model.modules()):
        for name, child in module._modules.items():
            module._modules[name] = None if child is None else _in_graph(child)
    return model


def _in_graph(module: nn.Module) -> nn.Module:
    while isinstance(module, (AtExit, SomeRows)):
        module = module.base
    if isinstance(module, AttentionPooling):
        return _GraphPooling(module)
    return _GraphExperts(module) if isinstance(module, Experts) else module


def input_names(source: Source) -> list[str]:
    """Return the names of what the graph takes, in order."""
    return list(source.rows.collate([0]).inputs)  # type: ignore[arg-type]


def write_graph(source: Source, path: Path) -> None:
    """Write the deployed model as ONNX, checked; weights lie beside it where it would have 2 GiB.

    Raises:
        UserError: torch.onnx has no form of something in it.
    """
    names = input_names(source)
    wrapped = _ByName(graph_form(source.bundle), names).eval()
    sample = tuple(_sample(source.bundle, name) for name in names)
    axes = {0: "batch"} if "pixel_values" in names else {0: "batch", 1: "tokens"}
    answer = axes if source.bundle.config.what.head != "sequence" else {0: "batch"}
    with tempfile.TemporaryDirectory() as scratch:
        traced = Path(scratch) / path.name
        with warnings.catch_warnings(), torch.no_grad():
            # It is deprecated (the module's docstring says why it is used), and tells of each
            # choice that depends on the structure, and so is rightly taken for good.
            warnings.simplefilter("ignore")
            try:
                torch.onnx.export(
                    wrapped,
                    sample,
                    traced,
                    dynamo=False,
                    opset_version=OPSET,
                    input_names=names,
                    output_names=[ANSWER],
                    dynamic_axes={**dict.fromkeys(names, axes), ANSWER: answer},
                )
            except (RuntimeError, ValueError, TypeError) as error:
                raise UserError(_why(error)) from error
        graph = onnx.load(traced)
    n_bytes = sum(len(tensor.raw_data) for tensor in graph.graph.initializer)
    apart = n_bytes > _LARGEST_FILE
    onnx.save(graph, path, save_as_external_data=apart, location=f"{path.name}.data")
    onnx.checker.check_model(path, full_check=True)


def _sample(bundle: LoadedBundle, name: str) -> Tensor:
    """Return one input of two rows, the second of which is padded: else no mask would be traced."""
    image = bundle.backbone.image
    if image is not None:
        return torch.zeros(2, image.n_channels, *image.size)
    ids = torch.ones(2, min(_SAMPLE_TOKENS, bundle.backbone.max_tokens), dtype=torch.long)
    if name == "token_type_ids":
        return torch.zeros_like(ids)
    if name == "attention_mask":
        ids[1, ids.shape[1] // 2 :] = 0
    return ids


def _why(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return (
        f"torch.onnx has no form of something in this model ({said[0] if said else error!r})."
        " Use `--format bundle`, which holds every structure."
    )


def refusal_of_graph(source: Source) -> str | None:
    """Return why the graph cannot be written; None: it was, on trial, and thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            write_graph(source, Path(scratch) / "model.onnx")
        except UserError as error:
            return str(error)
    return None
