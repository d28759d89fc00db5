"""The stock transformers class that gives a structure's logits, its config and its weights.

A head is pooling and one linear layer, and a weighted mean over tokens commutes with that layer. So
a row is answered for by a stock class that has one linear layer at every token: what is left to
its user is the weighted mean of the logits (trainers/export/reading.py).
"""

import copy
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from trainers.attach import merged_block
from trainers.backbone import Backbone
from trainers.bundle import BundleConfig, LoadedBundle
from trainers.graft import graft
from trainers.heads import RowHead
from trainers.pooling import AttentionPooling
from trainers.tasks import Task

_CLASSES: dict[str, Any] = {
    "AutoModelForTokenClassification": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    "AutoModelForImageClassification": MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    "AutoModelForCausalLM": MODEL_FOR_CAUSAL_LM_MAPPING,
}
_PROBLEMS = {
    "class": "single_label_classification",
    "classes": "multi_label_classification",
    "number": "regression",
}
_PER_LAYER = "layer_types"
SCORE = "attention_score"
"""What the config calls the output that weighs the tokens, where the pooling is `attention`."""


@dataclass(frozen=True, kw_only=True)
class Stock:
    """A class of transformers that holds a backbone and a linear head, and nothing between them."""

    auto: str
    """Name of the Auto class that opens it."""
    model_class: Any
    prefix: str
    """Of the backbone's names in it."""
    head: str
    """Name of its linear layer."""


class NoStockError(Exception):
    """No stock class gives these logits; the message says why."""


def stock_of(bundle: LoadedBundle) -> Stock:
    """Return the stock class for a structure's backbone and task.

    Raises:
        NoStockError: transformers has none, or it puts more than a linear layer on the backbone.
    """
    backbone, task = bundle.backbone, bundle.config.what
    auto = _auto_for(task)
    config, kinds = backbone.model.config, _CLASSES[auto]
    if type(config) not in kinds:
        raise NoStockError(
            f"transformers has no {auto} of the family {backbone.family.model_type!r}"
        )
    model_class = kinds[type(config)]
    empty = _empty(model_class, config)
    prefix = empty.base_model_prefix
    own = {f"{prefix}.{name}" for name in backbone.model.state_dict()}
    skipped = tuple(f"{prefix}.{part}." for part in backbone.family.unused)
    own = {name for name in own if not name.startswith(skipped)}
    found = set(empty.state_dict())
    rest = {name for name in found if not name.startswith(f"{prefix}.")}
    heads = {name.rpartition(".")[0] for name in rest}
    if len(heads) != 1:
        raise NoStockError(
            f"{model_class.__name__} puts more than a linear layer on the backbone"
            f" ({', '.join(sorted(heads))})"
        )
    if found - rest != own:
        odd = sorted((found - rest) ^ own)[0]
        raise NoStockError(f"{model_class.__name__} is built otherwise than the backbone ({odd})")
    head = heads.pop()
    _check_pooling(bundle, model_class)
    return Stock(auto=auto, model_class=model_class, prefix=prefix, head=head)


def _auto_for(task: Task) -> str:
    if task.head == "lm":
        return "AutoModelForCausalLM"
    images = "image" in task.inputs
    return "AutoModelForImageClassification" if images else "AutoModelForTokenClassification"


def _empty(model_class: Any, config: Any) -> Any:
    """Return a model without memory for its weights."""
    with torch.device("meta"):
        return model_class(copy.deepcopy(config))


def _check_pooling(bundle: LoadedBundle, model_class: Any) -> None:
    """Raise NoStockError where a stock class of images reads other tokens than the pooling does."""
    if "image" not in bundle.config.what.inputs:
        return
    pooling, model_type = bundle.config.spec.pooling, bundle.backbone.family.model_type
    readable = ("cls", "mean") if _reads_patches(model_type) else ("cls",)
    if pooling not in readable:
        raise NoStockError(
            f"{model_class.__name__} reads the first token"
            + (" and the mean of the others" if len(readable) > 1 else "")
            + f", but this structure has {pooling} pooling"
        )


def _reads_patches(model_type: str) -> bool:
    """Return whether an image head reads the mean of the patches beside the first token."""
    return model_type == "dinov2"


def stock_config(bundle: LoadedBundle) -> Any:
    """Return the config of the stock model: cut to the depth, with labels and how it is read."""
    spec, task = bundle.config.spec, bundle.config.what
    own: Any = bundle.backbone.model.config
    data = own.to_dict()
    for name in ("stage_names", "out_features", "out_indices"):  # of all blocks; made anew
        data.pop(name, None)
    if isinstance(data.get(_PER_LAYER), list):
        data[_PER_LAYER] = data[_PER_LAYER][: spec.depth]
    config = type(own).from_dict(data | {_depth_name(own): spec.depth})
    if task.head != "lm":
        names = output_names(bundle.config)
        config.num_labels = len(names)
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        config.problem_type = _PROBLEMS.get(task.labels)
    config.paradapt = facts(bundle.config)
    return config


def _depth_name(config: Any) -> str:
    return str(config.attribute_map.get("num_hidden_layers", "num_hidden_layers"))


def facts(config: BundleConfig) -> dict[str, Any]:
    """Return what is said of the task where a stock config has no field for it."""
    scale = config.scale
    return {
        "task": config.task,
        "reduction": config.spec.pooling,
        "max_length": config.max_length,
        "scale": None if scale is None else {"mean": scale.mean, "std": scale.std},
    }


def output_names(config: BundleConfig) -> tuple[str, ...]:
    """Return a name for each output of the stock head."""
    names = config.labels if config.what.named_labels else ("number",)
    if config.spec.pooling != "attention":
        return names
    score = SCORE
    while score in names:
        score += "_"
    return (*names, score)


def bare_state(bundle: LoadedBundle, *, fold: bool) -> dict[str, Tensor]:
    """Return the bare model's weights by name, cut to the depth.

    Args:
        bundle: the structure.
        fold: with its adapters folded in, all of them mergeable; else without them.
    """
    backbone, model = bundle.backbone, bundle.model
    family, spec = backbone.family, model.spec
    blocks = list(backbone.model.get_submodule(family.blocks).children())[: spec.depth]
    for layer in spec.insertion_layers if fold else ():
        placed = {
            a: model.adapters.get_submodule(f"{a.layer}.{a.role}")
            for a in spec.adapters
            if a.layer == layer
        }
        blocks[layer] = merged_block(blocks[layer], family, placed)
    removed = dict.fromkeys(family.unused)
    view = graft(backbone.model, {family.blocks: nn.ModuleList(blocks), **removed})
    state = view.state_dict()
    for name, module in view.named_modules():
        # Folded weights are (outputs, inputs); this kind of layer keeps them the other way round.
        if isinstance(module, nn.Linear) and isinstance(backbone.model.get_submodule(name), Conv1D):
            state[f"{name}.weight"] = state[f"{name}.weight"].t().contiguous()
    return state


def head_state(bundle: LoadedBundle, stock: Stock) -> dict[str, Tensor]:
    """Return the weights of the stock class's linear layer, by their names in it."""
    if bundle.config.what.head == "lm":
        assert bundle.backbone.lm_head is not None
        own = bundle.backbone.lm_head.state_dict()
        return {f"{stock.head}.{name}": tensor for name, tensor in own.items()}
    head: Any = bundle.model.head
    weight, bias = head.linear.weight.detach(), head.linear.bias.detach()  # (C, D), (C,)
    if isinstance(head, RowHead) and isinstance(head.pooling, AttentionPooling):
        query = head.pooling.query.detach()  # (D,)
        weight = torch.cat([weight, query[None] / math.sqrt(len(query))])
        bias = torch.cat([bias, bias.new_zeros(1)])
    elif stock.auto == "AutoModelForImageClassification":
        weight = _weight_for_patches(bundle.backbone, bundle.config.spec.pooling, weight)
    return {f"{stock.head}.weight": weight, f"{stock.head}.bias": bias}


def _weight_for_patches(backbone: Backbone, pooling: str, weight: Tensor) -> Tensor:
    """Return the weight for a head that may read [first token, mean of the patches]."""
    if not _reads_patches(backbone.family.model_type):
        return weight
    assert backbone.image is not None
    first = 1.0 if pooling == "cls" else 1 / backbone.image.n_tokens
    return torch.cat([weight * first, weight * (1 - first)], dim=1)  # (C, 2 D)


def stock_model(bundle: LoadedBundle, stock: Stock, *, fold: bool) -> Any:
    """Return the stock model with head and weights, for saving only; `fold` as in `bare_state`."""
    model = _empty(stock.model_class, stock_config(bundle))
    state = {f"{stock.prefix}.{name}": t for name, t in bare_state(bundle, fold=fold).items()}
    model.load_state_dict(state | head_state(bundle, stock), assign=True)
    return model


def bare_model(bundle: LoadedBundle) -> Any:
    """Return the backbone cut to the depth, without adapters and head, for saving only."""
    model = _empty(type(bundle.backbone.model), stock_config(bundle))
    for part in bundle.backbone.family.unused:
        delattr(model, part)
    model.load_state_dict(bare_state(bundle, fold=False), assign=True)
    return model


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers and PEFT from telling of a head that is new, or of each other's age."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
