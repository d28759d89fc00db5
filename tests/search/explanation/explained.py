"""Bundles of several tasks with rows, explained, for the page's tests."""

from pathlib import Path

from tests.trainers.explain.bundles import (
    ALL_KINDS,
    HEAD_ONLY,
    PLAIN,
    WITH_SIDE,
    WORDWISE,
    write_lesson_bundle,
    write_rows,
)
from tests.trainers.learnable import LESSONS
from tests.trainers.tiny import save_tiny
from trainers.backbone import load_backbone
from trainers.bundle import load
from trainers.explain import Explanation, explain, explained_rows

CASES = {
    "every-kind": ("class", ALL_KINDS),
    "head-only": ("class", HEAD_ONLY),
    "side": ("pair", WITH_SIDE),
    "several-labels": ("classes", ALL_KINDS),
    "numbers": ("number", PLAIN),
    "tags": ("tags", WORDWISE),
    "images": ("image", PLAIN),
    "language": ("next", WORDWISE),
}
"""Name -> lesson and structure."""


def write_case(folder: Path, name: str, n_rows: int = 30) -> tuple[Path, Path]:
    """Write backbone, bundle and rows; return the last two."""
    lesson, spec = CASES[name]
    place = save_tiny(LESSONS[lesson].family, folder / "backbone")
    backbone = load_backbone(str(place), task=LESSONS[lesson].task.name)
    bundle = write_lesson_bundle(folder / "bundle", lesson, backbone, spec)
    return bundle, write_rows(folder, lesson, n_rows)


def explain_case(folder: Path, name: str) -> Explanation:
    """Explain a case."""
    place, data = write_case(folder, name)
    bundle = load(place)
    rows = explained_rows(bundle, data, n_rows=None, seed=0)
    return explain(bundle, rows, lambda *_: None)
