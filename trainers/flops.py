"""Measure the FLOPs of a live model, to hold the closed form of `space/cost.py` against."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainers.model import AdaptedModel


def measure_gflops(model: AdaptedModel, n_tokens: int) -> float:
    """Return the GFLOPs of one forward pass over one sample of `n_tokens` tokens.

    The backbone runs eager attention, whose products torch's counter sees (it counts zero for
    the fused attention of a CPU: pytorch issue 195460).

    Raises:
        RuntimeError: the counter of this torch is wrong about a layer with a known count.
    """
    _check_counter()
    parameter = model.head.weight
    ids = torch.ones(1, n_tokens, dtype=torch.long, device=parameter.device)
    return _count(model, ids, torch.ones_like(ids)) / 1e9


def _count(model: nn.Module, *inputs: torch.Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(*inputs)
    return int(counter.get_total_flops())


def _check_counter() -> None:
    counted = _count(nn.Linear(6, 5), torch.zeros(7, 6))
    if counted != 2 * 7 * 6 * 5:
        raise RuntimeError(f"FlopCounterMode counts {counted} FLOPs for a layer with 420.")
