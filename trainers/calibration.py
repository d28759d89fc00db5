"""Which way to compute sparse experts is the fastest on this machine.

Measured once for each size and kept in a file of the user's cache folder, so that the same study
file gives the same structures and costs on the same machine.
"""

import json
import os
import platform
import statistics
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from space.cost import CONCATENATED, Ways
from trainers.expert_ways import WAYS, Weights

N_TOKENS = 2048
"""Tokens of a batch that the ways are timed on."""
_TURNS = 5
_WARM_UP = 1
_TIE = 1.05  # an earlier way of the table is taken unless another is faster by more than this

_NO_FILE = (OSError, RuntimeError)  # RuntimeError: a user without a home folder

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
    known = _known(key)
    if known is not None:
        return known
    times = measure(size)
    best = min(times.values())
    return _keep(key, next(way for way, ms in times.items() if ms <= _TIE * best))


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


@cache
def _machine() -> str:
    """Return what decides over speed: processor, threads, torch."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((x.partition(": ")[2] for x in lines if "model name" in x), processor)
    if torch.cuda.is_available():
        processor = torch.cuda.get_device_name()
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _path() -> Path:
    cache_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_folder) / "paradapt" / "expert-ways.json"


def _read() -> dict[str, dict[str, str]]:
    """Return what was measured before, for each machine; nothing where the file is broken."""
    with suppress(*_NO_FILE, ValueError):
        found = json.loads(_path().read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(isinstance(known, dict) for known in found.values()):
            return found
    return {}


def _known(key: str) -> str | None:
    way = _read().get(_machine(), {}).get(key)
    return way if way in WAYS else None


def _keep(key: str, way: str) -> str:
    """Keep a measurement and return it, or what another process kept meanwhile: all agree.

    Where it cannot be kept, it is measured again next time.
    """
    meanwhile = _known(key)
    if meanwhile is not None:
        return meanwhile
    kept = _read()
    kept.setdefault(_machine(), {})[key] = way
    with suppress(*_NO_FILE):
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
        partial.replace(path)
    return way
