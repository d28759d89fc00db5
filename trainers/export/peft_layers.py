"""Adapters as PEFT configures and names them.

Shapes: `I` input width, `O` output width, `R` rank, `P` prefix vectors, `V` width of the keys.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from space.adapter import Adapter
from trainers.bundle import LoadedBundle
from trainers.export.parts import first_where, in_words
from trainers.export.stock import Stock
from trainers.families import Place
from trainers.matching import widths

Config = LoraConfig | IA3Config | PrefixTuningConfig
_KINDS = ("lora", "ia3", "prefix")
_ROOT = "base_model.model"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A frozen layer with all the adapters at it: several where it serves several roles."""

    name: str
    """In the stock model."""
    module: Any
    adapters: tuple[tuple[Adapter, Place, Any], ...]
    """Each with its part of the layer's output and its module."""

    @property
    def fused(self) -> bool:
        """Whether an adapter serves a part of the layer only."""
        return any(place.n_parts > 1 for _, place, _ in self.adapters)


def refusal_of(bundle: LoadedBundle) -> str | None:
    """Return what of the adapters in the blocks PEFT has no form of; None: nothing."""
    spec = bundle.config.spec
    if not spec.adapters:
        return "it has no adapter that PEFT could load, only a head"
    strange = first_where(spec, lambda a: a.kind not in _KINDS or a.experts > 1)
    if strange is not None:
        return f"PEFT has no form of {strange}"
    first = spec.adapters[0]
    other = first_where(spec, lambda a: a.kind != first.kind)
    if other is not None:
        return f"it mixes kinds ({in_words(first)}, {other}), and a PEFT adapter is of a single one"
    return _prefix_refusal(bundle) if first.kind == "prefix" else None


def _prefix_refusal(bundle: LoadedBundle) -> str | None:
    """PEFT's prefix stands in all blocks alike, and comes as keys and values of earlier tokens."""
    spec, family = bundle.config.spec, bundle.backbone.family
    if len(spec.adapters) < spec.depth or len({a.rank for a in spec.adapters}) > 1:
        return "PEFT's prefix stands in every block with one rank, and this one does not"
    if bundle.backbone.image is not None or family.model_type not in PREFIX_FAMILIES:
        return f"transformers gives no keys and values to the family {family.model_type!r}"
    gates = [bundle.model.adapters.get_submodule(f"{a.layer}.{a.role}").gate for a in spec.adapters]
    if any(float(gate) < 1 for gate in gates):  # type: ignore[arg-type]
        return "its prefixes are let in only partly (trained for less than their warm-up)"
    return None


PREFIX_FAMILIES = (
    *("bert", "electra", "roberta", "xlm-roberta", "camembert"),
    *("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma"),
)


def position_offset(bundle: LoadedBundle) -> int | None:
    """Return what is added to a token's place in its row for the position to be given with it.

    PEFT adds the length of a prefix to given positions, and in training there was none. None where
    there is no prefix, and positions need not be given.
    """
    first, model = bundle.config.spec.adapters[0], bundle.backbone.model
    if first.kind != "prefix":
        return None
    assert first.rank is not None
    if not bundle.backbone.family.positions_after_padding:
        return -first.rank
    embeddings: Any = model.get_submodule("embeddings")
    return int(embeddings.padding_idx) + 1 - first.rank


def task_type(bundle: LoadedBundle) -> str | None:
    """Return PEFT's name of the task; None where it has no class for it."""
    task = bundle.config.what
    if "image" in task.inputs:
        return None
    return "CAUSAL_LM" if task.head == "lm" else "TOKEN_CLS"


def adapter_parts(bundle: LoadedBundle, stock: Stock) -> tuple[Config, dict[str, Tensor]]:
    """Return PEFT's config of a structure that can be expressed, and its weights by PEFT's names.

    The head's weights are not among them.
    """
    kind = bundle.config.spec.adapters[0].kind
    if kind == "prefix":
        return _prefix(bundle, stock)
    layers = list(_layers(bundle, stock))
    shared = {
        "task_type": task_type(bundle),
        "target_modules": [layer.name for layer in layers],
        "modules_to_save": None if bundle.config.what.head == "lm" else [stock.head],
        "fan_in_fan_out": isinstance(layers[0].module, Conv1D),
    }
    return (_lora if kind == "lora" else _ia3)(layers, shared)


def _layers(bundle: LoadedBundle, stock: Stock) -> Iterable[Layer]:
    family, model = bundle.backbone.family, bundle.model
    places = dict(family.roles)
    found: dict[str, list[tuple[Adapter, Place, Any]]] = {}
    for adapter in model.spec.adapters:
        place = places[adapter.role]
        path = f"{family.blocks}.{adapter.layer}.{place.path}"
        module = model.adapters.get_submodule(f"{adapter.layer}.{adapter.role}")
        found.setdefault(path, []).append((adapter, place, module))
    for path, adapters in found.items():
        frozen = bundle.backbone.model.get_submodule(path)
        yield Layer(name=f"{stock.prefix}.{path}", module=frozen, adapters=tuple(adapters))


def _lora(layers: list[Layer], shared: Mapping[str, Any]) -> tuple[LoraConfig, dict[str, Tensor]]:
    rules = {adapter.scaling for layer in layers for adapter, _, _ in layer.adapters}
    # PEFT has one rule for all layers; where a structure has both, alpha makes up for it.
    by_root = rules == {"alpha/sqrt(rank)"}
    ranks, alphas, tensors = {}, {}, {}
    for layer in layers:
        rank, alpha, down, up = _joined(layer, by_root)
        ranks[layer.name], alphas[layer.name] = rank, alpha
        tensors[f"{_ROOT}.{layer.name}.lora_A.weight"] = down
        tensors[f"{_ROOT}.{layer.name}.lora_B.weight"] = up
    rank, alpha = _most(ranks.values()), _most(alphas.values())
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        use_rslora=by_root,
        rank_pattern={name: r for name, r in ranks.items() if r != rank},
        alpha_pattern={name: a for name, a in alphas.items() if a != alpha},
        **shared,
    )
    return config, tensors


def _joined(layer: Layer, by_root: bool) -> tuple[int, float, Tensor, Tensor]:
    """Return a layer's rank, alpha, down (R, I) and up (O, R).

    Where several roles have one layer, their ranks stand side by side, each writing to its own part
    of the output, and the scales are in `up`.
    """
    if not layer.fused:
        ((adapter, _, module),) = layer.adapters
        assert adapter.rank is not None and adapter.alpha is not None
        own_rule = (adapter.scaling == "alpha/sqrt(rank)") == by_root
        alpha = adapter.alpha if own_rule else adapter.scale * adapter.rank
        return adapter.rank, _plain(alpha), module.down.detach(), module.up.detach()
    down = torch.cat([module.down.detach() for _, _, module in layer.adapters])  # (R, I)
    rank = len(down)
    up = down.new_zeros(widths(layer.module)[1], rank)  # (O, R)
    before = 0
    for adapter, place, module in layer.adapters:
        size = len(up) // place.n_parts
        rows = slice(place.part * size, (place.part + 1) * size)
        columns = slice(before, before := before + module.down.shape[0])
        up[rows, columns] = module.up.detach() * adapter.scale
    return rank, _plain(math.sqrt(rank) if by_root else rank), down, up


def _plain(alpha: float) -> float:
    """Return whole numbers as such: PEFT says that alphas are, though it takes others."""
    return int(alpha) if float(alpha).is_integer() else float(alpha)


def _most(values: Iterable[Any]) -> Any:
    """Return the most frequent value, the smallest of them where several are."""
    found = list(values)
    return min(set(found), key=lambda value: (-found.count(value), value))


def _ia3(layers: list[Layer], shared: Mapping[str, Any]) -> tuple[IA3Config, dict[str, Tensor]]:
    tensors, inputs = {}, []
    for layer in layers:
        d_out = widths(layer.module)[1]
        first = layer.adapters[0][2]
        if first.side == "input":
            inputs.append(layer.name)
            scale = first.scale.detach()[None]  # (1, I)
        else:
            scale = first.scale.new_ones(d_out, 1)  # (O, 1)
            for _, place, module in layer.adapters:
                size = d_out // place.n_parts
                scale[place.part * size : (place.part + 1) * size, 0] = module.scale.detach()
        tensors[f"{_ROOT}.{layer.name}.ia3_l"] = scale
    return IA3Config(feedforward_modules=inputs, **shared), tensors


def _prefix(bundle: LoadedBundle, stock: Stock) -> tuple[PrefixTuningConfig, dict[str, Tensor]]:
    spec, shape = bundle.config.spec, bundle.backbone.shape
    modules: list[Any] = [
        bundle.model.adapters.get_submodule(f"{layer}.attention") for layer in range(spec.depth)
    ]
    vectors = [t.detach() for prefix in modules for t in (prefix.key, prefix.value)]  # (P, V) each
    config = PrefixTuningConfig(
        task_type=task_type(bundle),
        num_virtual_tokens=len(vectors[0]),
        num_layers=spec.depth,
        token_dim=shape.kv_width,
        num_attention_heads=_n_key_heads(bundle.backbone.model.config),
        num_transformer_submodules=1,
        encoder_hidden_size=shape.kv_width,
        modules_to_save=None if bundle.config.what.head == "lm" else [stock.head],
    )
    return config, {"prompt_embeddings": torch.cat(vectors, dim=1)}


def _n_key_heads(config: Any) -> int:
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
