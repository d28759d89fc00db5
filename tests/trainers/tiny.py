"""Tiny backbones with random weights, one of each family, saved as a hub model would be."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from space.cost import BackboneShape
from space.kinds import KINDS, kinds_for
from space.spec import Adapter, AdapterSpec
from trainers.model import AdaptedModel

N_LAYERS = 4
WIDTH = 32
INNER_WIDTH = 48

WORDS = {
    "fruit": ("apple", "pear", "plum", "cherry", "grape", "melon"),
    "tool": ("hammer", "saw", "drill", "wrench", "chisel", "file"),
}
FILLERS = ("the", "a", "is", "on", "table", "new", "old", "small", "big")

# Weights far from zero, so that every block and every adapter changes the answer.
_SPREAD = 0.2


def vocabulary() -> list[str]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [word for group in WORDS.values() for word in group]
    return [*special, *FILLERS, *words]


def _model(family: str) -> nn.Module:
    if family == "distilbert":
        return DistilBertModel(
            DistilBertConfig(
                vocab_size=64,
                dim=WIDTH,
                n_layers=N_LAYERS,
                n_heads=4,
                hidden_dim=INNER_WIDTH,
                max_position_embeddings=64,
                initializer_range=_SPREAD,
            )
        )
    common = {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": INNER_WIDTH,
        "initializer_range": _SPREAD,
    }
    if family == "bert":
        return BertModel(BertConfig(**common, max_position_embeddings=64))
    return RobertaModel(RobertaConfig(**common, max_position_embeddings=66, pad_token_id=0))


def save_tiny(family: str, folder: Path) -> Path:
    """Write the model and its tokenizer to `folder`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(vocab))
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = _model(family)
    model.save_pretrained(folder)
    return folder


def adapter(layer: int, role: str, kind: str, rank: int = 4, alpha: float = 16.0) -> Adapter:
    return Adapter(
        layer=layer,
        role=role,
        kind=kind,
        rank=rank,
        alpha=alpha if KINDS[kind].scaled else None,
    )


def structure(
    depth: int,
    layers: tuple[int, ...],
    served: dict[str, str],
    rank: int = 4,
    pooling: str = "mean",
) -> AdapterSpec:
    """Return the structure with the adapters `role -> kind` in all of these layers."""
    adapters = [adapter(i, role, kind, rank) for i in layers for role, kind in served.items()]
    return AdapterSpec(depth=depth, adapters=tuple(adapters), pooling=pooling)


def everywhere(shape: BackboneShape, sublayer_kind: str, depth: int, pooling: str) -> AdapterSpec:
    """Return the structure with LoRA at all linear roles and this kind at both sub-layers."""
    served = {
        role: "lora" if "lora" in kinds_for(role, tuple(KINDS)) else sublayer_kind
        for role in shape.roles
    }
    return structure(depth, tuple(range(depth)), served, pooling=pooling)


def fill_randomly(model: AdaptedModel, seed: int = 0, spread: float = 0.1) -> AdaptedModel:
    """Give every trained weight a value, so that no adapter is the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.trained_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model


def random_batch(
    n_rows: int, n_tokens: int, n_vocab: int = 30, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return ids without padding tokens and a mask whose rows have various lengths."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, n_vocab, (n_rows, n_tokens), generator=generator)
    lengths = torch.linspace(2, n_tokens, n_rows).round().long()
    mask = (torch.arange(n_tokens) < lengths[:, None]).long()
    return ids * mask, mask
