"""The bundle: a trained structure in a folder, to be carried away and served.

config.yaml (structure, task, labels, backbone, provenance), adapter.safetensors (adapters and
head), metrics.json, README.md (model card) and SHA256SUMS over all of them.
"""

import json
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
from trainers.folder import check_sums
from trainers.model import AdaptedModel, build
from trainers.tasks import Task
from trainers.weights import FILE_NAME, read_tensors, write_tensors

__all__ = [
    "BundleConfig",
    "LoadedBundle",
    "head_shape",
    "load",
    "load_files",
    "n_outputs",
    "read_config",
    "write_bundle",
]

CONFIG, METRICS, CARD = "config.yaml", "metrics.json", "README.md"
_FILES = (CONFIG, FILE_NAME, METRICS, CARD)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedBundle:
    """A bundle on its backbone, ready to answer."""

    config: BundleConfig
    backbone: Backbone
    model: AdaptedModel


def write_bundle(
    folder: Path, config: BundleConfig, state: Mapping[str, Tensor], metrics: Mapping[str, Any]
) -> None:
    """Write the files of a bundle, all but its card.

    Args:
        folder: exists; trainers.folder.new_folder makes it whole.
        config: goes into config.yaml.
        state: what was trained.
        metrics: plain data: values by name, and the curve of the early exits where there are any.

    Raises:
        OSError: it cannot be written.
    """
    text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    write_tensors(state, folder / FILE_NAME)
    (folder / METRICS).write_text(json.dumps(dict(metrics), indent=2) + "\n", "utf-8")


def load(folder: Path | str) -> LoadedBundle:
    """Load a bundle on its backbone.

    Raises:
        UserError: the bundle is incomplete, was changed, is of a later format, or its backbone is
            not there or another one.
    """
    folder = Path(folder)
    _check(folder)
    return load_files(folder)


def load_files(folder: Path) -> LoadedBundle:
    """Load a bundle whose files were checked; arguments and errors as in `load`."""
    config = _config_in(folder)
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
    _check(folder)
    return _config_in(folder)


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such bundle; `paradapt export` writes one.")
    check_sums(folder, _FILES)


def _config_in(folder: Path) -> BundleConfig:
    path = folder / CONFIG
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({error}).") from error
    return config_of(raw, path)
