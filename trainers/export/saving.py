"""What of a structure's saving an exported graph keeps, in words and as FLOPs."""

from collections.abc import Mapping
from typing import Any

from trainers.export.format import Source
from trainers.export.graph import graph_form
from trainers.flops import measure_gflops
from trainers.model import deploy

_SPENT = "inference_gflops"


def saving(source: Source) -> dict[str, Any]:
    """Return plain data for the proof.

    Returns:
        gflops of the graph and structure_gflops of the deployed structure with all its exits, both
        at the mean length; kept and lost: a sentence for each part that saves by running less.
    """
    bundle, spec = source.bundle, source.bundle.config.spec
    kept, lost = [], []
    if spec.skips:
        blocks = ", ".join(str(skip.layer) for skip in spec.skips)
        kept.append(f"Skipped tokens: only the kept ones run through block {blocks} in the graph.")
    routers = {adapter.router for adapter in spec.adapters if adapter.experts > 1}
    if "sequence" in routers:
        kept.append("Experts chosen for a row: only these are computed in the graph.")
    if "token" in routers:
        lost.append(
            "Experts chosen for each token: the graph computes all of them and weighs the others"
            " with zero."
        )
    if spec.exits:
        depths = ", ".join(map(str, spec.exits))
        lost.append(
            f"Early exits: the graph has none of those behind block {depths}; every row runs"
            f" through all {spec.depth} blocks, and the last head answers."
        )
    parts = bundle.backbone, source.n_tokens
    return {
        "gflops": measure_gflops(graph_form(bundle), *parts),
        "structure_gflops": measure_gflops(deploy(bundle.model, bundle.backbone), *parts),
        "kept": kept,
        "lost": lost,
    }


def saving_in_words(source: Source, found: Mapping[str, Any]) -> str:
    """Return Markdown that says what `saving` found."""
    lines = [
        f"The graph does {found['gflops']:.4g} GFLOPs for a row of {source.n_tokens} tokens; the"
        f" structure itself, with all its heads, {found['structure_gflops']:.4g}.",
    ]
    lines += [f"- Kept. {said}" for said in found["kept"]]
    lines += [f"- Lost. {said}" for said in found["lost"]]
    if found["lost"] and _SPENT in source.metrics:
        lines.append(
            f"\nThe study counted {source.metrics[_SPENT]:.4g} GFLOPs a row for this structure."
            " `--format bundle` keeps all that is lost here."
        )
    return "\n".join(lines)
