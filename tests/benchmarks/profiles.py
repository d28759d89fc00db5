"""What the time of a training is spent on, by groups of torch's operators."""

import re
import time
from collections.abc import Callable

import torch
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
KERNELS = (
    ("attention (fused kernel)", r"flash|fmha|attention"),
    (PRODUCTS, r"gemm|gemv|nvjet|cutlass|xmma|splitK"),
    ("softmax", r"[sS]oftmax"),
    ("norms of the blocks", r"layer_norm|LayerNorm|GammaBeta"),
    ("activations", r"[gG]elu|[rR]elu|[sS]ilu|tanh|threshold"),
    ("optimizer and clipping", r"multi_tensor|FusedAdam|lpnorm"),
    ("embeddings and pooling", r"embedding|gather|index|scatter"),
    ("copies and casts", r"Memcpy|Memset|copy|CatArray|[fF]ill"),
    ("additions and products of elements", r"elementwise|reduce_kernel"),
)
"""The same by the names of a GPU's kernels."""
OTHERS, PYTHON = "other operators", "Python, Lightning and data"
WAITS = "the GPU waits: Python, Lightning, data, starts of kernels"


def spent(run: Callable[[], object]) -> dict[str, float]:
    """Return each group's share of the time that `run` takes, greatest first.

    On a processor, what no operator accounts for is Python: our code, Lightning's, torch's own,
    making batches. On a GPU it is the time in which no kernel runs. The profiler itself slows each
    operator down by some microseconds, so that shares of many small operators are overstated.
    """
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        began = time.perf_counter()
        run()
        wall_us = (time.perf_counter() - began) * 1e6
    shares: dict[str, float] = {}
    for event in profiler.key_averages():
        group = group_of(event.key, on_gpu=on_gpu)
        if group is not None:
            took_us = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            shares[group] = shares.get(group, 0.0) + took_us / wall_us
    shares.setdefault(PRODUCTS, 0.0)
    shares[WAITS if on_gpu else PYTHON] = max(0.0, 1.0 - sum(shares.values()))
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def group_of(name: str, *, on_gpu: bool = False) -> str | None:
    """Return the group of an operator or a GPU's kernel; None of what only encloses others."""
    for group, pattern in KERNELS if on_gpu else GROUPS:
        if re.search(pattern, name):
            return group
    return OTHERS if on_gpu or name.startswith("aten::") else None
