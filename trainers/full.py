"""Full fine-tuning: every weight of a backbone that runs is trained, and a head on it.

It is what adapters are measured against. The backbone is a copy: the shared one stays as it is.
"""

import copy
from dataclasses import replace

from torch import nn

from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.backbone import Backbone
from trainers.engine import Engine
from trainers.model import AdaptedModel, build

FULL_RATES = (2e-5, 5e-5, 1e-4)
"""Usual rates of AdamW for weights that were trained before: which is right depends on backbone and
rows (Devlin et al. 2019 try 2e-5 to 5e-5; small backbones and few rows want more)."""
HEAD_RATE = 1e-3
"""Of the head, which is new."""


def full_learning(rate: float) -> Learning:
    """Return how all weights are trained at a rate."""
    return Learning(learning_rate=rate, head_learning_rate=HEAD_RATE)


def own_copy(backbone: Backbone, engine: Engine) -> Backbone:
    """Return a copy of a backbone, none of its tensors shared, in float32.

    Args:
        backbone: in float32; left as it is.
        engine: whose attention the copy runs.
    """
    whole = nn.ModuleDict({"model": backbone.model})
    if backbone.lm_head is not None:
        whole["lm_head"] = backbone.lm_head
    own = copy.deepcopy(whole)  # together: head and embedding may be one matrix
    own["model"].set_attn_implementation(engine.attention)  # type: ignore[operator]
    return replace(
        backbone,
        model=own["model"],
        lm_head=own["lm_head"] if backbone.lm_head is not None else None,
    )


def build_full(
    backbone: Backbone, n_outputs: int, seed: int, *, pooling: str, head: str
) -> AdaptedModel:
    """Return the whole of a backbone with a head, all weights of both to be trained.

    Args:
        backbone: an own copy; it is changed by training.
        n_outputs: width of the answer.
        seed: of the head's weights.
        pooling: how a sequence becomes one vector.
        head: one of trainers.model.HEADS.
    """
    spec = AdapterSpec(depth=backbone.shape.n_layers, pooling=pooling)
    model = build(backbone, spec, n_outputs, seed, head=head)
    model.train_backbone()
    return model
