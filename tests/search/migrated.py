"""A small bundle that was trained on a study's data, to be put on other backbones."""

import json
from pathlib import Path

from search.context import prepare
from search.objectives import known_costs
from search.study_file import load_study_file
from search.training import train_structure
from space.adapter import Adapter
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.end_to_end.tiny_study import write_rows, write_study
from tests.trainers.whole_bundle import write_whole
from trainers.bundle import BundleConfig
from trainers.outline import Outline

LEARNING = Learning(learning_rate=1e-2, head_learning_rate=1e-2)


def lora(layer, role="value", rank=4):
    return Adapter(layer=layer, role=role, kind="lora", rank=rank, alpha=16.0)


BOTH = AdapterSpec(
    depth=2,
    adapters=(
        lora(0),
        lora(1),
        lora(1, "ffn_up", 2),
        Adapter(layer=1, role="attention", kind="prefix", rank=2),
    ),
)
"""Adapters in both blocks of the tiny backbone."""


def write_topics(folder: Path, backbone: Path, **changes):
    """Write rows, validation rows and a study file on them; return the study, checked."""
    write_rows(folder / "rows.csv", 60)
    write_rows(folder / "validation.csv", 45, seed=1)
    path = write_study(
        folder,
        **{
            "backbone": str(backbone),
            "data": {"train": "rows.csv", "validation": "validation.csv", "max_length": 32},
            "space": {"depth": [1, 2], "roles": ["value", "ffn_up"], "kinds": ["lora"]},
            "budget": {"trials": 3, "epochs": 4},
            "training": {"batch_size": 8, "precision": "float32"},
        }
        | changes,
    )
    return load_study_file(path)


def train_bundle(
    folder: Path, study, spec=BOTH, *, learning=LEARNING, report=lambda _: True, provenance=None
):
    """Train a structure as a trial of the study is trained, and write its bundle; return its
    metrics."""
    context = prepare(study, Path.cwd(), stage=lambda _: None)
    model, result = train_structure(context, spec, learning, report=report, tick=lambda *_: None)
    metrics = {**known_costs(spec, context.cost), **result.metrics}
    config = BundleConfig(
        task=study.task,
        backbone=study.backbone,
        backbone_fingerprint=context.backbone.fingerprint,
        labels=context.data.labels,
        columns=study.columns,
        scale=context.data.scale,
        max_length=study.data.max_length,
        spec=spec,
        exit_threshold=0.9 if spec.exits else None,
        provenance={
            "study": study.name,
            "trial": 7,
            "learning": vars(learning),
            "backbone_shape": Outline.of(context.backbone).to_dict(),
            **(provenance or {}),
        },
    )
    write_whole(folder, config, model.trained_state(), metrics)
    return metrics


def account_of(folder: Path):
    """Return the account that lies in a migrated bundle."""
    return json.loads((folder / "migration.json").read_text(encoding="utf-8"))
