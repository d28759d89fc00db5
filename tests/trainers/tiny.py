"""Tiny backbones with random weights, one of each family, saved as a hub model would be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    BertTokenizerFast,
    CamembertConfig,
    DebertaV2Config,
    Dinov2Config,
    DistilBertConfig,
    ElectraConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    XLMRobertaConfig,
)

from space.adapter import Adapter
from space.cost import BackboneShape
from space.kinds import KINDS, kinds_for
from space.spec import AdapterSpec
from trainers.families import FAMILIES
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


_COMMON: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": INNER_WIDTH,
    "initializer_range": _SPREAD,
}
_WORDS: dict[str, Any] = {"vocab_size": 64, "pad_token_id": 0}
_GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
_ENDS: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 3}
_IMAGES: dict[str, Any] = {"image_size": 12, "patch_size": 4, "num_channels": 3}

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**_COMMON, **_WORDS, max_position_embeddings=64),
    "electra": lambda: ElectraConfig(
        **_COMMON, **_WORDS, embedding_size=16, max_position_embeddings=64
    ),
    "roberta": lambda: RobertaConfig(**_COMMON, **_WORDS, max_position_embeddings=66),
    "xlm-roberta": lambda: XLMRobertaConfig(**_COMMON, **_WORDS, max_position_embeddings=66),
    "camembert": lambda: CamembertConfig(**_COMMON, **_WORDS, max_position_embeddings=66),
    "distilbert": lambda: DistilBertConfig(
        **_WORDS,
        dim=WIDTH,
        n_layers=N_LAYERS,
        n_heads=4,
        hidden_dim=INNER_WIDTH,
        max_position_embeddings=64,
        initializer_range=_SPREAD,
    ),
    "mpnet": lambda: MPNetConfig(**_COMMON, **_WORDS, max_position_embeddings=66),
    "deberta-v2": lambda: DebertaV2Config(
        **_COMMON,
        **_WORDS,
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
    ),
    "modernbert": lambda: ModernBertConfig(
        **_COMMON,
        **_WORDS,
        **_ENDS,
        cls_token_id=2,
        sep_token_id=3,
        max_position_embeddings=64,
        global_attn_every_n_layers=2,
        local_attention=8,
    ),
    "vit": lambda: ViTConfig(**_COMMON, **_IMAGES),
    "dinov2": lambda: Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        mlp_ratio=2,
        initializer_range=_SPREAD,
        **_IMAGES,
    ),
    "gpt2": lambda: GPT2Config(
        vocab_size=64,
        n_embd=WIDTH,
        n_layer=N_LAYERS,
        n_head=4,
        n_inner=INNER_WIDTH,
        n_positions=64,
        initializer_range=_SPREAD,
        **_ENDS,
    ),
    "llama": lambda: LlamaConfig(**_COMMON, **_WORDS, **_GROUPED, **_ENDS),
    "mistral": lambda: MistralConfig(**_COMMON, **_WORDS, **_GROUPED, **_ENDS),
    "qwen2": lambda: Qwen2Config(**_COMMON, **_WORDS, **_GROUPED, **_ENDS),
    "qwen3": lambda: Qwen3Config(**_COMMON, **_WORDS, **_GROUPED, **_ENDS),
    "gemma": lambda: GemmaConfig(**_COMMON, **_WORDS, **_GROUPED, **_ENDS),
    "t5": lambda: T5Config(
        vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=INNER_WIDTH, num_layers=N_LAYERS, num_heads=4
    ),
}
"""For each family of the table how its tiny model is configured."""

TEXT_FAMILIES = tuple(f for f in CONFIGS if FAMILIES[f].modality == "text")
CAUSAL_FAMILIES = tuple(f for f in CONFIGS if FAMILIES[f].causal)


def _model(config: PreTrainedConfig) -> nn.Module:
    if config.model_type == "t5":
        return T5EncoderModel(config)
    auto = AutoModelForCausalLM if FAMILIES[config.model_type].causal else AutoModel
    return auto.from_config(config)


def save_tiny(family: str, folder: Path) -> Path:
    """Write the model, with its tokenizer or what images it reads, to `folder`; return it."""
    return save_model(CONFIGS[family](), folder, images=FAMILIES[family].modality == "image")


def save_model(config: PreTrainedConfig, folder: Path, *, images: bool = False) -> Path:
    """Write a random model of any config, as a hub would hold it, to `folder`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    if images:
        size = {"height": config.image_size, "width": config.image_size}
        preprocessor = {"size": size, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    else:
        vocab = folder / "vocab.txt"
        vocab.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
        takes_pairs = config.model_type in ("bert", "electra", "deberta-v2")
        names = ["input_ids", *(["token_type_ids"] if takes_pairs else []), "attention_mask"]
        BertTokenizerFast(vocab=str(vocab), model_input_names=names).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = _model(config) if config.model_type in FAMILIES else AutoModel.from_config(config)
    model.save_pretrained(folder)
    return folder


def adapter(layer: int, role: str, kind: str, rank: int = 4, alpha: float = 16.0) -> Adapter:
    return Adapter(
        layer=layer,
        role=role,
        kind=kind,
        rank=rank if KINDS[kind].ranked else None,
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
