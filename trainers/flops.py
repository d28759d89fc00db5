"""Measure the FLOPs of a live model, to hold the closed form of `space/cost.py` against."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainers.backbone import Backbone
from trainers.expert_ways import GROUPED_FLOPS
from trainers.model import AdaptedModel


def measure_gflops(model: AdaptedModel, backbone: Backbone, n_tokens: int) -> float:
    """Return the GFLOPs of one forward pass over one sample of `n_tokens` tokens, all exits too.

    The backbone runs eager attention, whose products torch's counter sees (it counts zero for
    the fused attention of a CPU: pytorch issue 195460).

    Args:
        model: in the form that is measured; `trainers.model.deploy` gives the deployed one.
        backbone: what it stands on.
        n_tokens: length of the sample; images have the one length of their backbone.

    Raises:
        RuntimeError: the counter of this torch is wrong about a layer with a known count.
    """
    _check_counter()
    inputs = sample_inputs(backbone, n_tokens, model.device)
    counter = _counter()
    with torch.no_grad(), counter:
        model.forward_exits(**inputs)
    return int(counter.get_total_flops()) / 1e9


def sample_inputs(
    backbone: Backbone, n_tokens: int, device: torch.device, n_rows: int = 1
) -> dict[str, Tensor]:
    """Return a batch of like rows, as a backbone takes them, for measurements."""
    if backbone.image is not None:
        size = (n_rows, backbone.image.n_channels, *backbone.image.size)
        return {"pixel_values": torch.zeros(size, device=device)}
    ids = torch.ones(n_rows, n_tokens, dtype=torch.long, device=device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=GROUPED_FLOPS)


def _check_counter() -> None:
    counter = _counter()
    with torch.no_grad(), counter:
        nn.Linear(6, 5)(torch.zeros(7, 6))
    counted = counter.get_total_flops()
    if counted != 2 * 7 * 6 * 5:
        raise RuntimeError(f"FlopCounterMode counts {counted} FLOPs for a layer with 420.")
