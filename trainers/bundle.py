"""The bundle: a trained structure in a folder, to be carried away and served.

config.yaml (structure, task, labels, backbone, provenance), adapter.safetensors (adapters and
head), metrics.json, README.md (model card) and SHA256SUMS over all of them. An offline kit has the
backbone too (trainers/offline.py).

A bundle may come from anywhere. Everything in it is checked before it is used, and before memory is
taken for it; nothing in it is run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from space.cost import HeadShape, trainable_params
from space.errors import UserError
from trainers.backbone import Backbone, load_backbone
from trainers.bundle_config import BundleConfig, config_of
from trainers.calibration import ways
from trainers.folder import check_sums
from trainers.model import AdaptedModel, build, check_fits
from trainers.offline import BACKBONE, CODE, check_backbone
from trainers.plain_yaml import as_yaml, read_yaml
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
    (folder / CONFIG).write_text(as_yaml(config.to_dict()), encoding="utf-8")
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
    config = config_of(read_yaml(folder / CONFIG), folder / CONFIG)
    backbone = _backbone_of(config, folder)
    task, width = config.what, n_outputs(config.what, config.labels, backbone)
    state = read_tensors(folder / FILE_NAME)
    check_fits(backbone, config.spec, task.head)
    # What a structure takes is not known to be little before its weights are seen to be there.
    wanted = trainable_params(config.spec, backbone.shape, head_shape(task, width))
    _check_tensors(state, wanted, folder / FILE_NAME)
    model = build(backbone, config.spec, width, seed=0, head=task.head, ways=ways())
    try:
        model.load_trained_state(state)
    except ValueError as error:
        raise UserError(f"{folder / FILE_NAME}: {error}") from error
    return LoadedBundle(config=config, backbone=backbone, model=model)


def _backbone_of(config: BundleConfig, folder: Path) -> Backbone:
    """Return the backbone that lies in the folder, or else the one that the config names."""
    own = folder / BACKBONE
    name = config.backbone
    if own.exists():
        check_backbone(own)
        name = str(own.resolve())
    backbone = load_backbone(name, task=config.task)
    if backbone.fingerprint != config.backbone_fingerprint:
        raise UserError(
            f"{folder}: was trained on a backbone with the fingerprint"
            f" {config.backbone_fingerprint[:12]}..., but {name!r} now has"
            f" {backbone.fingerprint[:12]}...; its answers would be wrong. Give it the backbone"
            " that it was trained on, or move it to this one: `paradapt migrate"
            f" {folder} --backbone {name} --data STUDY.yaml --output NEW_FOLDER`."
        )
    if backbone.image is None and config.max_length > backbone.max_tokens:
        raise UserError(
            f"{folder / CONFIG}: `max_length` is at most {backbone.max_tokens}, which is all that"
            f" {name!r} has positions for, but got {config.max_length}."
        )
    return backbone


def _check_tensors(state: Mapping[str, Tensor], n_wanted: int, path: Path) -> None:
    """Raise UserError unless these can be weights of a structure with so many parameters."""
    n_found = sum(tensor.numel() for tensor in state.values())
    if n_found < n_wanted:
        raise UserError(
            f"{path}: The weights do not belong to this structure: it has {n_wanted:,} trained"
            f" parameters, but the file holds {n_found:,}."
        )
    for name, tensor in state.items():
        if tensor.dtype != torch.float32:
            raise UserError(f"{path}: {name} is of {tensor.dtype}; trained weights are float32.")
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} holds values that are not finite numbers.")


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
    return config_of(read_yaml(folder / CONFIG), folder / CONFIG)


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such bundle; `paradapt export` writes one.")
    check_sums(folder, _FILES, closed=(BACKBONE, CODE))
