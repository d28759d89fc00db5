"""Sources of exports: small structures of every task with random weights, and rows for them."""

from pathlib import Path
from typing import Any

from space.spec import AdapterSpec
from tests.trainers.explain.bundles import columns_of
from tests.trainers.learnable import LESSONS, MAX_LENGTH, rows_of
from tests.trainers.test_bundle import config_for
from tests.trainers.tiny import fill_randomly
from trainers.backbone import Backbone, load_backbone
from trainers.bundle import LoadedBundle, n_outputs
from trainers.data import encode
from trainers.export.format import Format, Options, Source
from trainers.export.writing import write_export
from trainers.model import build


def source_of(
    lesson_name: str, backbone: Backbone, spec: AdapterSpec, *, spread: float = 0.1, **changes: Any
) -> Source:
    """Return a structure with random weights for a lesson's task, its prefixes let in."""
    lesson = LESSONS[lesson_name]
    width = n_outputs(lesson.task, lesson.labels, backbone)
    model = build(backbone, spec, width, seed=0, head=lesson.task.head)
    fill_randomly(model, spread=spread).warm_up(1.0)
    config = config_for(
        backbone,
        spec,
        **{
            "task": lesson.task.name,
            "labels": lesson.labels,
            "columns": columns_of(lesson_name),
            "scale": lesson.scale,
            "max_length": MAX_LENGTH,
            "exit_threshold": 0.6 if spec.exits else None,
        }
        | changes,
    )
    return Source(
        bundle=LoadedBundle(config=config, backbone=backbone, model=model),
        rows=encode(rows_of(lesson_name, 24, 1), lesson.task, backbone, MAX_LENGTH),
        n_tokens=6,
        metrics={},
        card="# Card\n\n",
    )


def backbone_for(lesson_name: str, folders: Any, family: str | None = None) -> Backbone:
    """Return a tiny backbone of a family (or of the lesson's own), loaded for the lesson's task."""
    lesson = LESSONS[lesson_name]
    return load_backbone(str(folders[family or lesson.family]), task=lesson.task.name)


def export(form: Format, source: Source, folder: Path, **options: Any) -> dict[str, Any]:
    """Write an export and return its proof."""
    return write_export(form, source, folder, Options(**options))
