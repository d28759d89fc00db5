"""What the time of a training is spent on, by groups of torch's operators."""

import re
import time
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

PRODUCTS = "matrix products"
GROUPS = (
    (PRODUCTS, r"\b(mm|addmm|bmm|baddbmm|addbmm|mkldnn_linear\w*|_grouped_mm\w*)$"),
    ("attention (fused kernel)", r"scaled_dot_product|flash_attention|efficient_attention"),
    ("softmax", r"softmax"),
    ("norms of the blocks", r"layer_norm|rms_norm"),
    ("activations", r"gelu|relu|silu|tanh|threshold"),
    ("optimizer and clipping", r"adamw?_|_foreach|linalg_vector_norm|clip_grad|Optimizer|_fused"),
    ("embeddings and pooling", r"embedding|gather|index_select|aten::index|scatter"),
    ("copies and casts", r"copy_|_to_copy|aten::cat|clone|contiguous|fill_|zero_"),
    (
        "additions and products of elements",
        r"aten::(add|sub|mul|div|sum|mean|addcmul|where|neg)_?$",
    ),
)
"""Groups by what their operators' names match, first match first."""
OTHERS, PYTHON = "other operators", "Python, Lightning and data"


def spent(run: Callable[[], object]) -> dict[str, float]:
    """Return each group's share of the time that `run` takes, greatest first.

    What no operator accounts for is Python: our code, Lightning's, torch's own, making batches.
    The profiler itself slows each operator down by some microseconds, so that shares of many small
    operators are overstated.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        began = time.perf_counter()
        run()
        wall_us = (time.perf_counter() - began) * 1e6
    shares: dict[str, float] = {}
    for event in profiler.key_averages():
        group = group_of(event.key)
        if group is not None:
            shares[group] = shares.get(group, 0.0) + event.self_cpu_time_total / wall_us
    shares[PYTHON] = max(0.0, 1.0 - sum(shares.values()))
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def group_of(operator: str) -> str | None:
    """Return the group of an operator; None of a range that only encloses others."""
    for group, pattern in GROUPS:
        if re.search(pattern, operator):
            return group
    return OTHERS if operator.startswith("aten::") else None
