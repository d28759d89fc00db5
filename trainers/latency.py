"""Measure latency: batch 1, in turns with the bare backbone in the same process.

A wall-clock time alone says little on a shared machine; its ratio to the bare backbone's, taken
in turns, holds. Both are told.
"""

import statistics
import time

import torch

from space.spec import AdapterSpec
from trainers.backbone import Backbone
from trainers.model import AdaptedModel, build, deploy

N_TURNS = 15
N_WARM_UP = 2


def measure_latency(model: AdaptedModel, backbone: Backbone, n_tokens: int) -> dict[str, float]:
    """Return the latency of one sample in the deployed form.

    Args:
        model: a trained structure.
        backbone: what it stands on.
        n_tokens: length of the sample; the data's mean is the fair choice.

    Returns:
        latency_ms (median), latency_iqr_ms (spread of the middle half) and latency_ratio (median
        of the ratios to the whole bare backbone with a head).
    """
    bare = build(backbone, AdapterSpec(depth=backbone.shape.n_layers), model.n_outputs, seed=0)
    device = model.head.weight.device
    ids = torch.ones(1, n_tokens, dtype=torch.long, device=device)
    deployed = deploy(model, backbone)
    own, base = [], []
    with torch.inference_mode():
        bare.to(device)
        for _ in range(N_WARM_UP):
            deployed(ids, torch.ones_like(ids))
            bare(ids, torch.ones_like(ids))
        for _ in range(N_TURNS):
            own.append(_time_ms(deployed, ids))
            base.append(_time_ms(bare, ids))
    quarters = statistics.quantiles(own, n=4)
    return {
        "latency_ms": statistics.median(own),
        "latency_iqr_ms": quarters[2] - quarters[0],
        "latency_ratio": statistics.median(a / b for a, b in zip(own, base, strict=True)),
    }


def _time_ms(model: AdaptedModel, ids: torch.Tensor) -> float:
    started = time.perf_counter()
    # Reading one value waits for the whole pass, on a GPU too.
    model(ids, torch.ones_like(ids)).sum().item()
    return (time.perf_counter() - started) * 1e3
