"""A small study of each task for tests: rows that a tiny backbone reads, and the study file."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from tests.end_to_end.tiny_study import write_study
from tests.trainers.learnable import LESSONS, rows_of
from tests.trainers.tiny import save_tiny

N_ROWS = 48


@dataclass(frozen=True, kw_only=True)
class TaskStudy:
    """A task, its data, and what a study on it adds."""

    task: str
    family: str
    """Of the tiny backbone."""
    write: Callable[[Path], None]
    """Writes the rows to a path."""
    file: str = "rows.csv"
    data: dict[str, Any] = field(default_factory=dict)
    """Further keys of `data`."""
    space: dict[str, Any] = field(default_factory=dict)
    """Further keys of `space`."""
    objectives: tuple[str, ...]
    """What is optimised by default."""
    columns: tuple[str, ...]
    """What predict adds."""


def write_task_study(name: str, folder: Path, **changes: Any) -> Path:
    """Write backbone, rows and study file of a task; a change replaces a whole key, None drops it.

    Experts, and what else the task's space takes, are searched.
    """
    study = STUDIES[name]
    save_tiny(study.family, folder / "backbone")
    study.write(folder / study.file)
    sizes = {} if study.task == "image-classification" else {"max_length": 32}
    content: dict[str, Any] = {
        "name": name,
        "task": study.task,
        "backbone": "backbone",
        "data": {"train": study.file, "validation_share": 0.25} | sizes | study.data,
        "space": {"depth": [2, 3], "rank": [2, 4], "experts": [1, 2], "top_k": [1]} | study.space,
        "budget": {"trials": 3, "epochs": 1},
        "baselines": ["lora_all"],
        "training": {"batch_size": 16},
    }
    return write_study(folder, **(content | changes))


def _rows(name: str) -> Callable[[Path], None]:
    """Return what writes the rows of a lesson as CSV, a column for each input and the label."""

    def write(path: Path) -> None:
        rows, lesson = rows_of(name, N_ROWS, 0), LESSONS[name]
        header = [*lesson.task.inputs, "label"]
        columns = [rows.inputs[key] for key in lesson.task.inputs]
        labels = [_label(name, label) for label in rows.labels]
        _write_csv(path, header, list(zip(*columns, labels, strict=True)))

    return write


def _label(name: str, label: Any) -> str:
    names = LESSONS[name].labels
    if name == "number":
        return f"{100 + 20 * float(label):.2f}"
    if name == "classes":
        return "|".join(n for n, held in zip(names, label, strict=True) if held) or "neither"
    return names[int(label)]


def _texts(path: Path) -> None:
    texts = rows_of("next", N_ROWS, 0).inputs["text"]
    _write_csv(path, ["text"], [[f"{text} {number % 9}"] for number, text in enumerate(texts)])


def _sentences(path: Path) -> None:
    rows, tags = rows_of("tags", N_ROWS, 0), LESSONS["tags"].labels
    blocks = (
        "\n".join(f"{w} {tags[int(t)]}" for w, t in zip(words, labels, strict=True))
        for words, labels in zip(rows.inputs["words"], rows.labels, strict=True)
    )
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def _lists(path: Path) -> None:
    rows, tags = rows_of("tags", N_ROWS, 0), LESSONS["tags"].labels
    lines = (
        json.dumps({"words": list(words), "tags": [tags[int(t)] for t in labels]})
        for words, labels in zip(rows.inputs["words"], rows.labels, strict=True)
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _images(path: Path) -> None:
    rows = rows_of("image", N_ROWS, 0)
    images = numpy.asarray(rows.inputs["image"]).transpose(0, 2, 3, 1)  # (rows, height, width, 3)
    numpy.savez(path, images=images, labels=numpy.asarray(rows.labels))


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


_EXITS = {"exits": ["middle"]}
_SKIPS = {"token_keep": [1.0, 0.5]}
_TWO = ("prediction", "probability_fruit", "probability_tool")

STUDIES = {
    "classes-of-texts": TaskStudy(
        task="text-classification",
        family="bert",
        write=_rows("class"),
        space=_EXITS,
        objectives=("accuracy", "inference_gflops"),
        columns=(*_TWO, "exit_depth"),
    ),
    "several-labels": TaskStudy(
        task="text-classification",
        family="distilbert",
        write=_rows("classes"),
        data={"label_separator": "|"},
        space=_EXITS,
        objectives=("micro_f1", "inference_gflops"),
        columns=(
            "prediction",
            "probability_fruit",
            "probability_neither",
            "probability_tool",
            "exit_depth",
        ),
    ),
    "pairs": TaskStudy(
        task="text-pair-classification",
        family="electra",
        write=_rows("pair"),
        space=_SKIPS,
        objectives=("accuracy", "inference_gflops"),
        columns=_TWO,
    ),
    "numbers": TaskStudy(
        task="text-regression",
        family="modernbert",
        write=_rows("number"),
        space=_SKIPS,
        objectives=("pearson", "inference_gflops"),
        columns=("prediction",),
    ),
    "pairs-to-numbers": TaskStudy(
        task="text-regression",
        family="bert",
        write=lambda path: _write_csv(
            path,
            ["first", "second", "score"],
            [
                [text, text, str(float(number))]
                for text, number in zip(
                    rows_of("number", N_ROWS, 0).inputs["text"],
                    rows_of("number", N_ROWS, 0).labels,
                    strict=True,
                )
            ],
        ),
        data={"text": "first", "text_pair": "second", "label": "score"},
        objectives=("pearson", "inference_gflops"),
        columns=("prediction",),
    ),
    "tags": TaskStudy(
        task="token-classification",
        family="roberta",
        write=_sentences,
        file="rows.conll",
        space=_SKIPS,
        objectives=("entity_f1", "inference_gflops"),
        columns=("prediction",),
    ),
    "tags-in-lists": TaskStudy(
        task="token-classification",
        family="deberta-v2",
        write=_lists,
        file="rows.jsonl",
        data={"text": "words", "label": "tags"},
        objectives=("entity_f1", "inference_gflops"),
        columns=("prediction",),
    ),
    "images": TaskStudy(
        task="image-classification",
        family="vit",
        write=_images,
        file="rows.npz",
        space=_EXITS,
        objectives=("accuracy", "inference_gflops"),
        columns=("prediction", "probability_0", "probability_1", "exit_depth"),
    ),
    "language": TaskStudy(
        task="causal-lm",
        family="gpt2",
        write=_texts,
        objectives=("perplexity", "inference_gflops"),
        columns=("n_tokens", "log_likelihood", "perplexity"),
    ),
}
"""Small studies by name: every task, on families of all kinds."""
