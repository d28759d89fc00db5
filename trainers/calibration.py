"""Which way to compute sparse experts is the fastest on this machine.

Measured once for each size and kept (trainers/measured.py): the FLOPs of a structure depend on it.
"""

import statistics
import time
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from space.cost import CONCATENATED, Ways
from trainers.expert_ways import WAYS, Weights
from trainers.measured import Measured

N_TOKENS = 2048
"""Tokens of a batch that the ways are timed on."""
_TURNS = 5
_WARM_UP = 1
_TIE = 1.05  # an earlier way of the table is taken unless another is faster by more than this

MEASURED = Measured("expert-ways.json", WAYS)

Size = tuple[int, int, int, int, int]
"""(input width, output width, rank, experts, top_k)"""


def ways() -> Ways:
    """Return what says, for a size, which way this machine computes experts fastest."""
    return lambda *size: fastest_way(*size)


@cache
def fastest_way(d_in: int, d_out: int, rank: int, experts: int, top_k: int) -> str:
    """Return the fastest way for a size: as measured before on this machine, or measured now."""
    if top_k == experts:
        return CONCATENATED  # nothing to leave out: the others do the same and sort besides
    size: Size = (d_in, d_out, rank, experts, top_k)
    key = " ".join(map(str, size))
    known = MEASURED.known(key)
    if known is not None:
        return known
    times = measure(size)
    best = min(times.values())
    return MEASURED.keep(key, next(way for way, ms in times.items() if ms <= _TIE * best))


def measure(size: Size, n_tokens: int = N_TOKENS) -> dict[str, float]:
    """Return the milliseconds of each way, forward and backward, median of turns.

    Args:
        size: of the experts.
        n_tokens: how many tokens they are computed for.
    """
    d_in, d_out, rank, experts, top_k = size
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator)
        return values.to(_device()).requires_grad_()

    weights = Weights(
        down=random(experts, rank, d_in),
        up=random(experts, d_out, rank),
        down_bias=None,
        up_bias=None,
        activation=functional.relu,
    )
    x, router = random(n_tokens, d_in), random(experts, d_in)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(_WARM_UP + _TURNS):
        for name, way in WAYS.items():
            began = time.perf_counter()
            top, chosen = (x @ router.t()).softmax(-1).topk(top_k)
            way(x, top, chosen, weights).sum().backward()  # type: ignore[no-untyped-call]
            x.grad.sum().item()  # type: ignore[union-attr]  # waits, on a GPU too
            if turn >= _WARM_UP:
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
