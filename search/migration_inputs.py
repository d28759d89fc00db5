"""What a migration starts from, checked before anything is trained."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from search.context import StudyContext
from search.study_file import StudySpec
from space.errors import UserError
from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.bundle import METRICS, read_config
from trainers.bundle_config import BundleConfig
from trainers.folder import SUMS
from trainers.offline import BACKBONE
from trainers.weights import FILE_NAME, read_tensors


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for."""

    folder: Path
    """Of the old bundle."""
    backbone: str
    """A bundled name, a local folder (from the working directory), or a model id."""
    output: Path
    """New, or empty."""
    epochs: int | None
    """To train for; None: as many as the case wants. 0: the weights are only moved."""
    n_neighbours: int
    """How many structures around it are trained for comparison."""

    @property
    def placed(self) -> str:
        """The backbone, a folder by its absolute path."""
        path = os.path.expanduser(self.backbone)  # noqa: PTH111 (~nobody stays as it is)
        return str(Path(path).resolve()) if os.path.isdir(path) else self.backbone  # noqa: PTH112


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The old bundle."""

    folder: Path
    config: BundleConfig
    state: Mapping[str, Tensor]
    metrics: Mapping[str, Any]
    """As they were recorded at its export."""
    sha256: str
    """Of its SHA256SUMS, and so of all of it."""

    @property
    def backbone(self) -> str:
        """Where its own backbone is: in an offline kit, or where its config says."""
        kit = self.folder / BACKBONE
        return str(kit.resolve()) if kit.is_dir() else self.config.backbone


def read_parent(folder: Path) -> Parent:
    """Read a bundle without its backbone.

    Raises:
        UserError: it is incomplete, was changed, or is of another format.
    """
    config = read_config(folder)
    state = read_tensors(folder / FILE_NAME)
    n_found = sum(tensor.numel() for tensor in state.values())
    # A structure of a hostile file may claim more than memory holds; its weights are there.
    claimed = [(a.rank or 1) * a.experts for a in config.spec.adapters]
    claimed += [skip.rank for skip in config.spec.skips]
    claimed += [config.spec.side.width] if config.spec.side else []
    if sum(claimed) > n_found:
        raise UserError(f"{folder / FILE_NAME}: The weights do not belong to this structure.")
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / METRICS}: not JSON ({error}).") from error
    return Parent(
        folder=folder,
        config=config,
        state=state,
        metrics=metrics if isinstance(metrics, dict) else {},
        sha256=hashlib.sha256((folder / SUMS).read_bytes()).hexdigest(),
    )


def check_study(parent: Parent, study: StudySpec) -> None:
    """Raise UserError unless a study is of the bundle's task."""
    if study.what == parent.config.what:
        return
    if study.task != parent.config.task:
        raise UserError(
            f"--data: its task is {study.task}, but the bundle {parent.folder} was trained for"
            f" {parent.config.task}. Give a study file of that task."
        )
    raise UserError(
        f"--data: its rows are read otherwise than the bundle {parent.folder} was trained for:"
        " data.label_separator and data.text_pair must stand in both or in none of them."
    )


def check_labels(parent: Parent, context: StudyContext) -> None:
    """Raise UserError unless the data have the bundle's labels, and no others."""
    own, found = parent.config.labels, context.data.labels
    if own == found:
        return
    differences = [
        f"{what} {', '.join(map(repr, sorted(names)))}"
        for what, names in (
            ("they lack", set(own) - set(found)),
            ("it lacks", set(found) - set(own)),
        )
        if names
    ]
    raise UserError(
        f"--data: the labels of its rows are not those that the bundle {parent.folder} answers"
        f" with: {'; '.join(differences) or 'their order differs'}. Give rows with the same labels;"
        " new ones need a new search."
    )


def learning_of(parent: Parent, spec: AdapterSpec) -> Learning:
    """Return how the bundle was trained, for a structure on the new backbone.

    Raises:
        UserError: the bundle does not say.
    """
    raw = parent.config.provenance.get("learning")
    raw = raw if isinstance(raw, dict) else {}
    rate, head_rate = raw.get("learning_rate"), raw.get("head_learning_rate")
    if not _is_rate(head_rate) or not (spec.head_only or _is_rate(rate)):
        raise UserError(
            f"{parent.folder}: does not say at which rates it was trained (provenance.learning of"
            " its config.yaml: learning_rate and head_learning_rate, numbers above 0), so that it"
            " cannot be trained on."
        )
    return Learning(
        learning_rate=None if spec.head_only else rate,
        head_learning_rate=head_rate,
    )


def _is_rate(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value) and value > 0
