"""Rows of every task that a tiny backbone can learn, and its data as a study has them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from tests.trainers.tiny import FILLERS, WORDS
from trainers.backbone import Backbone, load_backbone
from trainers.data import Columns, Split, StudyDataModule, TargetScale, encode
from trainers.tasks import TASKS, Task, task_of

FRUITS, TOOLS = WORDS["fruit"][:3], WORDS["tool"][:3]
MAX_LENGTH = 24
N_PIXELS = 12


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A task with what its rows are made of."""

    task: Task
    family: str
    """Of the tiny backbone that learns it."""
    labels: tuple[str, ...] = ()
    scale: TargetScale | None = None
    columns: Columns = field(default_factory=Columns)


LESSONS = {
    "class": Lesson(task=TASKS["text-classification"], family="bert", labels=("fruit", "tool")),
    "pair": Lesson(
        task=TASKS["text-pair-classification"],
        family="bert",
        labels=("fruit", "tool"),
        columns=Columns(text="first", text_pair="second"),
    ),
    "classes": Lesson(
        task=task_of("text-classification", label_separator="|"),
        family="bert",
        labels=("fruit", "tool"),
        columns=Columns(label_separator="|"),
    ),
    "number": Lesson(
        task=TASKS["text-regression"],
        family="bert",
        scale=TargetScale(mean=100.0, std=20.0),
    ),
    "tags": Lesson(
        task=TASKS["token-classification"],
        family="bert",
        labels=("O", "B-fruit", "B-tool", "I-fruit", "I-tool"),
    ),
    "image": Lesson(task=TASKS["image-classification"], family="vit", labels=("dark", "light")),
    "next": Lesson(task=TASKS["causal-lm"], family="gpt2"),
}


def backbone_of(lesson: Lesson, folders: Mapping[str, Path]) -> Backbone:
    return load_backbone(str(folders[lesson.family]), task=lesson.task.name)


def rows_of(name: str, n_rows: int, seed: int) -> Split:
    """Return rows with their labels."""
    generator = random.Random(seed)
    rows = [_MAKERS[name](generator) for _ in range(n_rows)]
    inputs, labels = zip(*rows, strict=True)
    columns: dict[str, Any] = {
        key: tuple(values)
        for key, values in zip(LESSONS[name].task.inputs, zip(*inputs, strict=True), strict=True)
    }
    if name == "image":
        columns["image"] = numpy.stack(columns["image"])
    kind = LESSONS[name].task.labels
    if kind == "tags":
        return Split(inputs=columns, labels=[numpy.array(tags, numpy.int64) for tags in labels])
    floats = kind in ("classes", "number")
    return Split(
        inputs=columns, labels=numpy.array(labels, numpy.float32 if floats else numpy.int64)
    )


def module_of(
    name: str, backbone: Backbone, n_rows: int = 96, batch_size: int = 16
) -> StudyDataModule:
    """Return the batches of training and validation."""
    task = LESSONS[name].task
    return StudyDataModule(
        train=encode(rows_of(name, n_rows, 0), task, backbone, MAX_LENGTH),
        validation=encode(rows_of(name, 64, 1), task, backbone, MAX_LENGTH),
        batch_size=batch_size,
        validation_factor=2,
        seed=0,
    )


def _fillers(generator: random.Random) -> list[str]:
    return generator.choices(FILLERS, k=generator.randint(2, 6))


def _shuffled(generator: random.Random, words: Sequence[str]) -> str:
    return " ".join(generator.sample(words, len(words)))


def _class(generator: random.Random) -> tuple[tuple[str], int]:
    label = generator.randrange(2)
    word = generator.choice((FRUITS, TOOLS)[label])
    return (_shuffled(generator, [word, *_fillers(generator)]),), label


def _pair(generator: random.Random) -> tuple[tuple[str, str], int]:
    """The second text tells the label."""
    (second,), label = _class(generator)
    return (" ".join(_fillers(generator)), second), label


def _classes(generator: random.Random) -> tuple[tuple[str], list[int]]:
    held = [generator.randrange(2), generator.randrange(2)]
    words = [generator.choice(ws) for ws, holds in zip((FRUITS, TOOLS), held, strict=True) if holds]
    return (_shuffled(generator, [*words, *_fillers(generator)]),), held


def _number(generator: random.Random) -> tuple[tuple[str], float]:
    n_fruits = generator.randrange(5)
    words = [*generator.choices(FRUITS, k=n_fruits), *generator.choices(TOOLS, k=4 - n_fruits)]
    return (_shuffled(generator, words),), (n_fruits - 2) / 1.4


def _tags(generator: random.Random) -> tuple[tuple[tuple[str, ...]], list[int]]:
    words: list[str] = []
    tags: list[int] = []
    for _ in range(generator.randint(2, 5)):
        kind = generator.randrange(3)
        if kind == 2:
            words.append(generator.choice(FILLERS))
            tags.append(0)
        else:
            words.append(generator.choice((FRUITS, TOOLS)[kind]))
            tags.append(1 + kind)
    return (tuple(words),), tags


def _image(generator: random.Random) -> tuple[tuple[Any], int]:
    label = generator.randrange(2)
    noise = numpy.random.default_rng(generator.randrange(10**6))
    pixels = noise.integers(0, 128, (3, N_PIXELS, N_PIXELS)) + 127 * label
    return (pixels.astype(numpy.uint8),), label


def _next(generator: random.Random) -> tuple[tuple[str], int]:
    """Texts that go round three words."""
    n_words, start = generator.randint(5, 12), generator.randrange(3)
    return (" ".join(FRUITS[(start + place) % 3] for place in range(n_words)),), 0


_MAKERS: Mapping[str, Any] = {
    "class": _class,
    "pair": _pair,
    "classes": _classes,
    "number": _number,
    "tags": _tags,
    "image": _image,
    "next": _next,
}
