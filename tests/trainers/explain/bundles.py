"""Small bundles of every task with every kind of part, and rows with labels for them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy

from space.adapter import Adapter, TokenSkip
from space.side import Side
from space.spec import AdapterSpec
from tests.trainers.learnable import LESSONS, rows_of
from tests.trainers.test_bundle import config_for
from tests.trainers.tiny import fill_randomly
from tests.trainers.whole_bundle import write_whole
from trainers.backbone import Backbone
from trainers.bundle import n_outputs
from trainers.data import Columns
from trainers.model import build


def adapter(layer: int, role: str, kind: str, **numbers: Any) -> Adapter:
    own: dict[str, Any] = {} if kind == "ia3" else {"rank": 4}
    if kind in ("lora", "parallel"):
        own["alpha"] = 8.0
    if numbers.get("experts", 1) > 1:
        own |= {"router": "token", "top_k": 1}
    return Adapter(layer=layer, role=role, kind=kind, **(own | numbers))


ALL_KINDS = AdapterSpec(
    depth=4,
    adapters=(
        adapter(1, "query", "lora"),
        adapter(1, "key", "ia3"),
        adapter(1, "ffn", "bottleneck", experts=3, top_k=2),
        adapter(2, "value", "lora", experts=3),
        adapter(2, "ffn_down", "ia3"),
        adapter(2, "attention", "prefix"),
        adapter(3, "attention", "parallel", experts=3, router="sequence"),
        adapter(3, "ffn_up", "lora", experts=3),
        adapter(3, "ffn", "parallel"),
    ),
    skips=(TokenSkip(layer=3, token_keep=0.5, rank=3),),
    exits=(2,),
)
"""Every kind of adapter, experts of both routers, a skip with experts in its block, and an exit."""

PLAIN = AdapterSpec(
    depth=3,
    adapters=(adapter(1, "value", "lora"), adapter(2, "value", "lora", experts=2)),
)
WORDWISE = AdapterSpec(
    depth=3,
    adapters=(adapter(1, "value", "lora"), adapter(2, "value", "lora", experts=2)),
    pooling="none",
)
HEAD_ONLY = AdapterSpec(depth=2)
WITH_SIDE = AdapterSpec(depth=3, side=Side(width=8, boundaries=(1, 2, 3)))


def columns_of(name: str) -> Columns:
    """What the columns of `write_rows` are called."""
    task = LESSONS[name].task
    return Columns(
        text="words" if "words" in task.inputs else "text",
        text_pair="second" if "text_pair" in task.inputs else None,
        label_separator="|" if name == "classes" else None,
    )


def write_lesson_bundle(
    folder: Path,
    name: str,
    backbone: Backbone,
    spec: AdapterSpec,
    *,
    spread: float = 0.15,
    **changes: Any,
) -> Path:
    """Write a bundle of random weights for a lesson's task."""
    lesson = LESSONS[name]
    width = n_outputs(lesson.task, lesson.labels, backbone)
    model = fill_randomly(
        build(backbone, spec, width, seed=0, head=lesson.task.head), spread=spread
    )
    model.warm_up(1.0)
    config = config_for(
        backbone,
        spec,
        **{
            "task": lesson.task.name,
            "labels": lesson.labels,
            "columns": columns_of(name),
            "scale": lesson.scale,
            "exit_threshold": 0.6 if spec.exits else None,
        }
        | changes,
    )
    write_whole(folder, config, model.trained_state(), {}, "")
    return folder


def write_rows(folder: Path, name: str, n_rows: int = 40) -> Path:
    """Write rows of a lesson with their labels, as a user would have them."""
    rows, lesson = rows_of(name, n_rows, 0), LESSONS[name]
    if name == "image":
        path = folder / "rows.npz"
        images = numpy.asarray(rows.inputs["image"]).transpose(0, 2, 3, 1)
        names = numpy.array([lesson.labels[int(i)] for i in rows.labels])
        numpy.savez(path, images=images, labels=names)
        return path
    if name == "tags":
        path = folder / "rows.jsonl"
        lines = (
            json.dumps(
                {"words": list(words), "label": json.dumps([lesson.labels[t] for t in tags])}
            )
            for words, tags in zip(rows.inputs["words"], rows.labels, strict=True)
        )
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path
    path = folder / "rows.csv"
    spelled = {"text": "text", "text_pair": "second"}
    head = [spelled[key] for key in lesson.task.inputs]
    columns: list[Any] = [rows.inputs[key] for key in lesson.task.inputs]
    if name != "next":
        head.append("label")
        columns.append([_label(name, label) for label in rows.labels])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *zip(*columns, strict=True)])
    return path


def _label(name: str, label: Any) -> str:
    lesson = LESSONS[name]
    if lesson.scale is not None:
        return f"{float(label) * lesson.scale.std + lesson.scale.mean:.6f}"
    if name == "classes":
        return "|".join(n for n, held in zip(lesson.labels, label, strict=True) if held)
    return lesson.labels[int(label)]
