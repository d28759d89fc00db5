"""What a bundle's config.yaml holds, and how it is checked when it is read."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeGuard

from space.errors import UserError, close_matches
from space.spec import AdapterSpec
from trainers.data import Columns, TargetScale
from trainers.tasks import TASKS, Task, task_of

FORMAT = 2
MAX_TOKENS = 10**6
"""More than any backbone has positions for."""

_NONE = type(None)
_KEYS: Mapping[str, tuple[type, ...]] = {
    "format": (int,),
    "task": (str,),
    "backbone": (dict,),
    "labels": (list,),
    "columns": (dict,),
    "scale": (dict, _NONE),
    "max_length": (int,),
    "spec": (dict,),
    "exit_threshold": (float, int, _NONE),
    "provenance": (dict,),
}


@dataclass(frozen=True, kw_only=True)
class BundleConfig:
    """How a trained structure is built anew, and how rows are read and answered for."""

    task: str
    backbone: str
    """As the study file named it: a bundled name, a folder, or a model id."""
    backbone_fingerprint: str
    labels: tuple[str, ...]
    """None where the task has no named ones."""
    columns: Columns
    """What the columns of the study's data are called."""
    scale: TargetScale | None
    """Of the numbers, where they are what was learned."""
    max_length: int
    spec: AdapterSpec
    exit_threshold: float | None
    """How sure an early exit has to be; None where the structure has none."""
    provenance: Mapping[str, Any]
    """Study, trial, seed, versions, data fingerprint: how it came to be."""

    @property
    def what(self) -> Task:
        """The task, as the columns make it."""
        return task_of(
            self.task,
            label_separator=self.columns.label_separator,
            text_pair=self.columns.text_pair,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "format": FORMAT,
            "task": self.task,
            "backbone": {"name": self.backbone, "fingerprint": self.backbone_fingerprint},
            "labels": list(self.labels),
            "columns": asdict(self.columns),
            "scale": None if self.scale is None else asdict(self.scale),
            "max_length": self.max_length,
            "spec": self.spec.to_dict(),
            "exit_threshold": self.exit_threshold,
            "provenance": dict(self.provenance),
        }


def config_of(raw: Any, path: Path) -> BundleConfig:
    """Return what `BundleConfig.to_dict` wrote.

    Args:
        raw: the plain data.
        path: where it stood, for messages.

    Raises:
        UserError: it is of another format, or does not hold what it should.
    """
    _check_types(raw, path)
    try:
        spec = AdapterSpec.from_dict(raw["spec"])
        name, fingerprint = raw["backbone"]["name"], raw["backbone"]["fingerprint"]
    except (ValueError, KeyError, OverflowError) as error:
        raise UserError(f"{path}: {error}") from error
    config = BundleConfig(
        task=raw["task"],
        backbone=str(name),
        backbone_fingerprint=str(fingerprint),
        labels=tuple(str(label) for label in raw["labels"]),
        columns=_columns(raw["columns"], path),
        scale=_scale(raw["scale"], path),
        max_length=raw["max_length"],
        spec=spec,
        exit_threshold=raw["exit_threshold"],
        provenance=raw["provenance"],
    )
    _check_agreement(config, path)
    return config


def _check_types(raw: Any, path: Path) -> None:
    if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
        raise UserError(f"{path}: not the config of a bundle (it has no `format`).")
    if raw["format"] != FORMAT:
        raise UserError(
            f"{path}: has the format {raw['format']}, but this version of paradapt reads"
            f" {FORMAT}; install the version that wrote it."
        )
    for key, kinds in _KEYS.items():
        value = raw.get(key)
        if key not in raw or not isinstance(value, kinds) or isinstance(value, bool):
            named = " or ".join("null" if kind is _NONE else kind.__name__ for kind in kinds)
            raise UserError(f"{path}: `{key}` is missing or no {named}.")
    if not 1 <= raw["max_length"] <= MAX_TOKENS:
        raise UserError(
            f"{path}: `max_length` is 1 to {MAX_TOKENS} tokens, but got {raw['max_length']}."
        )
    if raw["task"] not in TASKS:
        raise UserError(
            f"{path}: `task` is one of {', '.join(TASKS)}, but got {raw['task']!r}."
            + close_matches(raw["task"], TASKS)
        )


def _columns(raw: Mapping[str, Any], path: Path) -> Columns:
    known = {field.name: field for field in fields(Columns)}
    for name, value in raw.items():
        if name not in known:
            raise UserError(
                f"{path}: `columns` has no key {name!r}." + close_matches(str(name), known)
            )
        may_be_none = known[name].default is None
        if not (isinstance(value, str) or (value is None and may_be_none)):
            raise UserError(f"{path}: `columns.{name}` is no name of a column: {value!r}.")
    return Columns(**raw)


def _scale(raw: Mapping[str, Any] | None, path: Path) -> TargetScale | None:
    if raw is None:
        return None
    mean, std = raw.get("mean"), raw.get("std")
    if not (_is_finite(mean) and _is_finite(std) and std > 0):
        raise UserError(f"{path}: `scale` is a mean and a std above 0, but got {dict(raw)}.")
    return TargetScale(mean=float(mean), std=float(std))


def _is_finite(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _check_agreement(config: BundleConfig, path: Path) -> None:
    """Raise UserError unless the parts of a config go with each other."""
    task, labels = config.what, config.labels
    if task.named_labels != bool(labels) or len(set(labels)) < len(labels):
        wanted = "different names, one at least," if task.named_labels else "nothing"
        raise UserError(f"{path}: `labels` holds {wanted} for {task.name}, but got {list(labels)}.")
    if "text_pair" in task.inputs and config.columns.text_pair is None:
        raise UserError(f"{path}: `columns.text_pair` is needed for {task.name}, but is null.")
    if (config.scale is not None) != (task.labels == "number"):
        raise UserError(f"{path}: `scale` stands where numbers are learned, and only there.")
    threshold = config.exit_threshold
    if threshold is not None and not (config.spec.exits and _is_finite(threshold)):
        raise UserError(
            f"{path}: `exit_threshold` is a number where the structure has exits, and null"
            f" elsewhere, but got {threshold}."
        )
