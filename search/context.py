"""Everything that the trials of a study share: made once, read by all, changed by none."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from search.study_file import StudySpec
from space.cost import TokenStats
from space.errors import UserError
from space.search_space import SearchSpace
from trainers.backbone import Backbone, load_backbone
from trainers.data import (
    TextData,
    TextDataModule,
    TokenTable,
    load_text_data,
    token_stats,
    tokenize,
)

VERSIONED = ("paradapt", "torch", "transformers", "lightning", "optuna", "mlflow", "numpy")
"""Distributions whose versions are stored with every study and bundle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyContext:
    """One study's backbone, space and data. The backbone is one, the tokens are made once."""

    study: StudySpec
    backbone: Backbone
    space: SearchSpace
    data: TextData
    train: TokenTable
    validation: TokenTable
    tokens: TokenStats
    """Of the training rows: what the cost in FLOPs is reckoned with."""

    @property
    def n_outputs(self) -> int:
        """Width of the head: how many labels there are."""
        return len(self.data.labels)

    @property
    def weights_folder(self) -> Path:
        """Where the trained weights of this study's trials are."""
        return Path(self.study.artifacts) / self.study.name

    def data_module(self) -> TextDataModule:
        """Return the batches for one trial."""
        return TextDataModule(
            train=self.train,
            validation=self.validation,
            batch_size=self.study.training.batch_size,
            seed=self.study.seed,
            pad_id=self.backbone.pad_id,
        )


def prepare(study: StudySpec, folder: Path, stage: Callable[[str], None]) -> StudyContext:
    """Load and check all that a study needs. Nothing is written.

    Args:
        study: the checked study file.
        folder: the study file's folder.
        stage: is told what is being done, for the user to see.

    Raises:
        UserError: the backbone, the space on it, or the data are wrong.
    """
    stage("loading the backbone")
    backbone = load_backbone(study.backbone, folder)
    if study.data.max_length > backbone.max_tokens:
        raise UserError(
            f"data.max_length: must be at most {backbone.max_tokens}, which is all that the"
            f" backbone {study.backbone!r} has positions for, but got {study.data.max_length}."
        )
    space = study.search_space(backbone.shape)
    stage("reading the data")
    data = load_text_data(
        source=study.data.source,
        train=_path(study.data.train),
        validation=_path(study.data.validation),
        text=study.data.text,
        label=study.data.label,
        rows=study.data.rows,
        validation_share=study.data.validation_share,
        seed=study.seed,
    )
    stage("tokenising")
    train = tokenize(data.train, backbone.tokenizer, study.data.max_length)
    return StudyContext(
        study=study,
        backbone=backbone,
        space=space,
        data=data,
        train=train,
        validation=tokenize(data.validation, backbone.tokenizer, study.data.max_length),
        tokens=token_stats(train),
    )


def environment() -> dict[str, Any]:
    """Return the versions and the machine that a study or a bundle was made with."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONED},
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
