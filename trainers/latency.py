"""Measure latency: batch 1, in turns with the bare backbone in the same process.

A wall-clock time alone says little on a shared machine; its ratio to the bare backbone's, taken
in turns, holds. Both are told.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from space.spec import AdapterSpec
from trainers.backbone import Backbone
from trainers.early_exit import NEVER, EarlyExit
from trainers.flops import sample_inputs
from trainers.heads import FrozenHead, TokenHead
from trainers.model import AdaptedModel, build, deploy

N_TURNS = 15
N_WARM_UP = 2


def measure_latency(
    model: AdaptedModel,
    backbone: Backbone,
    n_tokens: int,
    *,
    exit_shares: Sequence[float] | None = None,
    n_rows: int = 1,
    n_turns: int = N_TURNS,
) -> dict[str, float]:
    """Return the latency of one batch in the deployed form.

    Args:
        model: a trained structure.
        backbone: what it stands on.
        n_tokens: length of the rows; the data's mean is the fair choice.
        exit_shares: of the rows that leave at each exit and at the end: the latency is their
            mean. None: no row leaves early.
        n_rows: rows of the batch.
        n_turns: how often it is timed.

    Returns:
        latency_ms (median), latency_iqr_ms (spread of the middle half) and latency_ratio (median
        of the ratios to the whole bare backbone with its head).
    """
    inputs = sample_inputs(backbone, n_tokens, model.device, n_rows)
    bare = _bare(model, backbone).to(model.device)
    forms = _forms(deploy(model, backbone), exit_shares)
    own, base = [], []
    with torch.inference_mode():
        for turn in range(N_WARM_UP + n_turns):
            times = [
                share * _time_ms(form, inputs) for share, form in forms if share or turn < N_WARM_UP
            ]
            bare_ms = _time_ms(bare, inputs)
            if turn >= N_WARM_UP:
                own.append(sum(times))
                base.append(bare_ms)
    quarters = statistics.quantiles(own, n=4)
    return {
        "latency_ms": statistics.median(own),
        "latency_iqr_ms": quarters[2] - quarters[0],
        "latency_ratio": statistics.median(a / b for a, b in zip(own, base, strict=True)),
    }


Form = Callable[..., Tensor | tuple[Tensor, Tensor]]


def _bare(model: AdaptedModel, backbone: Backbone) -> AdaptedModel:
    """Return the whole bare backbone with a head like the model's."""
    kinds: dict[type, str] = {FrozenHead: "lm", TokenHead: "token"}
    spec = AdapterSpec(depth=backbone.shape.n_layers, pooling=model.spec.pooling)
    head = kinds.get(type(model.head), "sequence")
    return build(backbone, spec, model.n_outputs, seed=0, head=head)


def _forms(deployed: AdaptedModel, shares: Sequence[float] | None) -> list[tuple[float, Form]]:
    """Return what runs, with its share: the model itself, or one that leaves at each exit."""
    if shares is None:
        return [(1.0, deployed)]
    # Leaving at an exit is being sure of anything there, and of nothing before.
    n_exits = len(deployed.spec.exits)
    thresholds = [
        [0.0 if i == own else NEVER for i in range(n_exits)] for own in range(n_exits + 1)
    ]
    return list(zip(shares, [EarlyExit(deployed, each) for each in thresholds], strict=True))


def _time_ms(form: Form, inputs: dict[str, Tensor]) -> float:
    started = time.perf_counter()
    out = form(**inputs)
    logits = out if isinstance(out, Tensor) else out[0]
    # Reading one value waits for the whole pass, on a GPU too.
    logits.sum().item()
    return (time.perf_counter() - started) * 1e3
