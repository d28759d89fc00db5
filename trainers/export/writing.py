"""Write an export: the format's own files, the proof, the card, and checksums over all of them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from space.errors import UserError
from trainers.bundle import CARD
from trainers.export.format import Format, Options, Source
from trainers.export.proof import prove
from trainers.export.served import Verdict, served
from trainers.folder import check_free, new_folder

PROOF = "proof.json"


def check_expressible(form: Format, source: Source, options: Options) -> None:
    """Raise UserError where a format cannot express the structure, or lacks an option.

    Nothing is written by this, so that it can be asked for a whole front beforehand.
    """
    defaults = Options()
    for name in ("int8", "offline", "register"):
        given = getattr(options, name) != getattr(defaults, name)
        if given and name not in form.options:
            raise UserError(f"--{name}: the format {form.name} does not take it.")
    reason = form.refusal(source, options)
    if reason is not None:
        raise UserError(f"--format {form.name}: {reason}")


def write_export(form: Format, source: Source, folder: Path, options: Options) -> dict[str, Any]:
    """Write a trained structure in one form, whole or not at all, and return its proof.

    Args:
        form: the format.
        source: the trained structure.
        folder: new, or empty.
        options: what the user asked for besides.

    Raises:
        UserError: the format cannot express it, answers otherwise than the trained model, or the
            folder is in use or cannot be written.
    """
    check_free(folder)
    check_expressible(form, source, options)
    config = source.bundle.config
    with new_folder(folder) as partial:
        written = form.write(source, partial, options)
        measured = prove(
            source, partial, form.opened(source, partial), tolerance=form.tolerance(options)
        )
        verdicts = served(config, source.bundle.backbone.family, form.name)
        proof = {
            "format": form.name,
            **measured,
            **written.facts,
            "served": {place: asdict(verdict) for place, verdict in verdicts.items()},
            "backbone_fingerprint": config.backbone_fingerprint,
            "data_fingerprint": config.provenance.get("data_fingerprint"),
            "environment": config.provenance.get("environment"),
        }
        (partial / PROOF).write_text(json.dumps(proof, indent=2) + "\n", encoding="utf-8")
        use = written.use.strip("\n")
        said = f"{_proof_in_words(proof)}{_served_in_words(verdicts)}"
        card = f"{source.card}{said}## Use\n\n{use}\n"
        (partial / CARD).write_text(card, encoding="utf-8")
        _make_readable(partial)
    return proof


def _make_readable(folder: Path) -> None:
    """Let others read all files as far as they may read the card: safetensors' are its owner's."""
    mode = (folder / CARD).stat().st_mode
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)


def _proof_in_words(proof: Mapping[str, Any]) -> str:
    return f"""## This export

Loaded again as its users load it, on {proof["n_rows"]} held-out rows its logits differ from the
trained model's by at most {proof["largest_difference"]:.2g};
{proof["same_decisions"]:.1%} of the decisions are the same. One row of {proof["n_tokens"]} tokens
took {proof["latency_ms"]:.3g} ms (median; middle half within {proof["latency_iqr_ms"]:.2g} ms) on
the machine that wrote it, for {proof["gflops"]:.4g} GFLOPs. The folder has
{proof["size_mib"]:.1f} MiB. All of it as data: {PROOF}.

"""


def _served_in_words(verdicts: Mapping[str, Verdict]) -> str:
    rows = "\n".join(
        f"| {place} | {'yes' if verdict.served else 'no'} | {verdict.reason} |"
        for place, verdict in verdicts.items()
    )
    return f"""| where it can be served | | why |
|---|---|---|
{rows}

"""
