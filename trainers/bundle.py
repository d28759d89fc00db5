"""The bundle: a trained structure in a folder, to be carried away and served.

config.yaml (structure, task, labels, backbone, provenance), adapter.safetensors (adapters and
head), metrics.json, README.md (model card) and SHA256SUMS over all of them.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from space.cost import HeadShape
from space.errors import UserError
from trainers.backbone import Backbone, load_backbone
from trainers.bundle_config import BundleConfig, config_of
from trainers.calibration import ways
from trainers.model import AdaptedModel, build
from trainers.tasks import Task
from trainers.weights import FILE_NAME, read_tensors, write_tensors

__all__ = [
    "BundleConfig",
    "LoadedBundle",
    "check_free",
    "head_shape",
    "load",
    "n_outputs",
    "read_config",
    "write_bundle",
]

CONFIG, METRICS, CARD, SUMS = "config.yaml", "metrics.json", "README.md", "SHA256SUMS"
_FILES = (CONFIG, FILE_NAME, METRICS, CARD)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedBundle:
    """A bundle on its backbone, ready to answer."""

    config: BundleConfig
    backbone: Backbone
    model: AdaptedModel


def write_bundle(
    folder: Path,
    config: BundleConfig,
    state: Mapping[str, Tensor],
    metrics: Mapping[str, Any],
    card: str,
) -> None:
    """Write a bundle: whole, or not at all.

    Args:
        folder: new, or empty.
        config: goes into config.yaml.
        state: what was trained.
        metrics: plain data: values by name, and the curve of the early exits where there are any.
        card: the text of README.md.

    Raises:
        UserError: the folder exists and is not empty, or cannot be written.
    """
    check_free(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
        (partial / CONFIG).write_text(text, encoding="utf-8")
        write_tensors(state, partial / FILE_NAME)
        (partial / METRICS).write_text(json.dumps(dict(metrics), indent=2) + "\n", "utf-8")
        (partial / CARD).write_text(card, encoding="utf-8")
        sums = "".join(f"{_sha256(partial / name)}  {name}\n" for name in _FILES)
        (partial / SUMS).write_text(sums, encoding="ascii")
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Raise UserError unless a bundle can be written at `folder` without loss."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output {folder}: exists already; nothing is overwritten. Name another.")


def load(folder: Path | str) -> LoadedBundle:
    """Load a bundle on its backbone.

    Raises:
        UserError: the bundle is incomplete, was changed, is of a later format, or its backbone is
            not there or another one.
    """
    folder = Path(folder)
    config = read_config(folder)
    backbone = load_backbone(config.backbone, task=config.task)
    if backbone.fingerprint != config.backbone_fingerprint:
        raise UserError(
            f"{folder}: was trained on a backbone with the fingerprint"
            f" {config.backbone_fingerprint[:12]}..., but {config.backbone!r} now has"
            f" {backbone.fingerprint[:12]}...; its answers would be wrong. Give it the backbone"
            " that it was trained on."
        )
    task = config.what
    model = build(
        backbone,
        config.spec,
        n_outputs(task, config.labels, backbone),
        seed=0,
        head=task.head,
        ways=ways(),
    )
    try:
        model.load_trained_state(read_tensors(folder / FILE_NAME))
    except ValueError as error:
        raise UserError(f"{folder / FILE_NAME}: {error}") from error
    return LoadedBundle(config=config, backbone=backbone, model=model)


def n_outputs(task: Task, labels: Sequence[str], backbone: Backbone) -> int:
    """Return the width of a task's answer: labels, one number, or the backbone's vocabulary."""
    if task.labels == "none":
        return backbone.n_vocabulary
    return 1 if task.labels == "number" else len(labels)


def head_shape(task: Task, n_outputs: int) -> HeadShape:
    """Return what a task's head costs."""
    return HeadShape(
        n_outputs=n_outputs, per_token=task.head != "sequence", trained=task.head != "lm"
    )


def read_config(folder: Path) -> BundleConfig:
    """Check a bundle's files against its checksums, and return what its config holds.

    Raises:
        UserError: a file is missing, was changed, or does not hold what it should.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such bundle; `paradapt export` writes one.")
    _check_sums(folder)
    path = folder / CONFIG
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({error}).") from error
    return config_of(raw, path)


def _check_sums(folder: Path) -> None:
    path = folder / SUMS
    if not path.is_file():
        raise UserError(f"{folder}: no bundle of paradapt: it has no {SUMS}.")
    sums = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        sha256, _, name = line.partition("  ")
        sums[name] = sha256
    for name in _FILES:
        if name not in sums:
            raise UserError(f"{path}: has no line for {name}; the bundle is incomplete.")
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: is missing; the bundle is incomplete.")
        if _sha256(folder / name) != sums[name]:
            raise UserError(
                f"{folder / name}: was changed or damaged since the export (its SHA-256 is not the"
                f" one in {SUMS}). Export it anew."
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
