"""How the frozen blocks run on this machine: in which precision, with which attention.

Both are measured when a study begins, never assumed: a processor without bfloat16 in hardware is
slower in it, and which attention is faster depends on machine and length of the texts.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from space.spec import AdapterSpec
from trainers.backbone import Backbone
from trainers.flops import sample_inputs
from trainers.measured import Measured
from trainers.model import build
from trainers.precision import AUTO, PRECISIONS

ATTENTIONS = ("eager", "sdpa")
"""Attention implementations of transformers; the first is kept unless another is clearly faster."""

PRECISION = Measured("precision.json", PRECISIONS)
ATTENTION = Measured("attention.json", ATTENTIONS)

_PRODUCTS = {"cpu": (1024, 384, 1536), "cuda": (8192, 4096, 4096)}
# A GPU is so fast that a small product would time its start.
_TURNS = 5
_FASTER = 1.1  # by so much the second of two ways must win


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What was chosen."""

    precision: str
    """One of PRECISIONS: of the frozen weights. Adapters, heads and losses are float32."""
    attention: str
    """One of ATTENTIONS."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen weights."""
        return dtype_of(self.precision)


FLOAT32 = Engine(precision="float32", attention=ATTENTIONS[0])
"""The engine that every machine has."""


def dtype_of(precision: str) -> torch.dtype:
    """Return torch's type of one of PRECISIONS."""
    dtype = getattr(torch, precision)
    assert isinstance(dtype, torch.dtype)
    return dtype


def default_device() -> torch.device:
    """Return where trials are trained."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_engine(backbone: Backbone, precision: str, n_rows: int, n_tokens: int) -> Engine:
    """Measure what is fastest here.

    Args:
        backbone: in float32.
        precision: one of PRECISIONS, or `auto`: bfloat16 where it is faster.
        n_rows: rows of a training batch.
        n_tokens: mean length of the rows.
    """
    if precision == AUTO:
        precision = PRECISION.known(AUTO) or PRECISION.keep(AUTO, _faster_precision())
    engine = Engine(precision=precision, attention=ATTENTIONS[0])
    shape = backbone.shape
    key = (
        f"{backbone.family.model_type} {shape.width} {shape.attention_width} {precision}"
        f" {n_rows}x{_power_of_two(n_tokens)}"
    )
    attention = ATTENTION.known(key)
    if attention is None:
        attention = ATTENTION.keep(key, _faster_attention(backbone, engine, n_rows, n_tokens))
    return replace(engine, attention=attention)


def _faster_precision() -> str:
    peaks = {name: peak_gflops(dtype_of(name)) for name in PRECISIONS}
    return "bfloat16" if peaks["bfloat16"] > _FASTER * peaks["float32"] else "float32"


def _power_of_two(n: int) -> int:
    """Return the nearest power of two: lengths alike share a measurement."""
    return int(2 ** round(math.log2(max(1, n))))


def peak_gflops(dtype: torch.dtype) -> float:
    """Return the GFLOPs a second of a large matrix product, the best of a few turns."""
    device = default_device()
    m, k, n = _PRODUCTS[device.type]
    x, weight = torch.randn(m, k, device=device), torch.randn(n, k, device=device)
    x, weight = x.to(dtype), weight.to(dtype)

    def product() -> object:
        return functional.linear(x, weight)[0, 0].item()

    product()
    best = min(_time_s(product) for _ in range(_TURNS))
    return 2 * m * k * n / best / 1e9


def prepared(backbone: Backbone, engine: Engine) -> Backbone:
    """Return the backbone as the engine runs it; what need not change is shared with it.

    Frozen weights are cast once: autocast alone would cast them in every step.
    """
    if engine == FLOAT32:
        return backbone
    whole = nn.ModuleDict({"model": backbone.model})
    if backbone.lm_head is not None:
        whole["lm_head"] = backbone.lm_head
    cast = engine.dtype != FLOAT32.dtype
    own = copy.deepcopy(whole, {} if cast else _shared(whole)).to(engine.dtype)
    own["model"].set_attn_implementation(engine.attention)  # type: ignore[operator]
    return replace(
        backbone,
        model=own["model"],
        lm_head=own["lm_head"] if backbone.lm_head is not None else None,
    )


def _shared(module: nn.Module) -> dict[int, Tensor]:
    return {id(t): t for t in (*module.parameters(), *module.buffers())}


def _faster_attention(backbone: Backbone, engine: Engine, n_rows: int, n_tokens: int) -> str:
    """Return the attention that makes forward and backward of one block faster."""
    blocks: dict[str, Callable[[], None]] = {}
    for attention in ATTENTIONS:
        # A model may lack an implementation, and says so in its own way.
        with suppress(ValueError, ImportError):
            own = prepared(backbone, replace(engine, attention=attention))
            blocks[attention] = _block_step(own, engine, n_rows, n_tokens)
    times: dict[str, list[float]] = {attention: [] for attention in blocks}
    for _ in range(_TURNS):  # in turns, so that a noisy machine is noisy for all
        for attention, step in blocks.items():
            times[attention].append(_time_s(step))
    best = {attention: min(own) for attention, own in times.items()}
    winner, first = min(best, key=best.__getitem__), ATTENTIONS[0]
    return winner if best[first] > _FASTER * best[winner] else first


def _block_step(
    backbone: Backbone, engine: Engine, n_rows: int, n_tokens: int
) -> Callable[[], None]:
    """Return what runs one block, forward and backward."""
    device = default_device()
    model = build(backbone, AdapterSpec(depth=1), n_outputs=1, seed=0).to(device)
    inputs = sample_inputs(backbone, n_tokens, device, n_rows)
    if "attention_mask" in inputs:  # as in a batch of like length: some rows are shorter
        inputs["attention_mask"][::2, -1] = 0
    leaves: list[Tensor] = []

    def with_gradient(_block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        leaves.append(args[0].detach().requires_grad_())
        return (leaves[-1], *args[1:])

    first = next(model.view.get_submodule(backbone.family.blocks).children())
    first.register_forward_pre_hook(with_gradient)

    def step() -> None:
        with autocast(engine, device):
            out = model.hidden(**inputs)
        out.float().sum().backward()  # type: ignore[no-untyped-call]
        grad = leaves.pop().grad
        assert grad is not None
        grad.sum().item()  # waits, on a GPU too

    step()
    return step


def autocast(engine: Engine, device: torch.device) -> torch.autocast:
    """Return the context in which a model runs, so that adapters meet what the blocks give."""
    return torch.autocast(device.type, torch.bfloat16, enabled=engine.dtype != FLOAT32.dtype)


def _time_s(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
