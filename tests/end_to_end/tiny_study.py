"""A small study for tests: separable rows, a study file, a tiny backbone, and the real command."""

import csv
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import BertConfig, BertModel, BertTokenizerFast
from transformers.utils import logging as transformers_logging

TOPICS = {
    "food": ("bread", "soup", "cheese", "oven", "recipe", "salt", "butter", "dinner"),
    "space": ("orbit", "rocket", "planet", "star", "moon", "comet", "probe", "galaxy"),
    "sport": ("goal", "match", "team", "player", "score", "league", "coach", "stadium"),
}
FILLERS = ("the", "a", "with", "near", "after", "before", "some", "this", "every", "our")
COMMAND = Path(sys.executable).with_name("paradapt")


def rows(n_rows: int, seed: int = 0, n_topics: int = 3) -> list[dict[str, str]]:
    """Sentences of five words of one topic between fillers: easily told apart, all different."""
    draw = random.Random(seed)
    found = []
    for number in range(n_rows):
        topic = list(TOPICS)[number % n_topics]
        words = [w for _ in range(5) for w in (draw.choice(FILLERS), draw.choice(TOPICS[topic]))]
        found.append({"id": str(number), "text": " ".join(words), "label": topic})
    return found


def write_rows(path: Path, n_rows: int = 120, **changes: Any) -> Path:
    """Write rows as CSV."""
    content = rows(n_rows, **changes)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(content[0]))
        writer.writeheader()
        writer.writerows(content)
    return path


def write_study(folder: Path, **changes: Any) -> Path:
    """Write `study.yaml` on `rows.csv`; a change replaces a whole top-level key, None drops it."""
    content = {
        "name": "topics",
        "task": "text-classification",
        "backbone": "minilm",
        "data": {"train": "rows.csv", "max_length": 32},
        "space": {"depth": [1, 2], "rank": [2, 4]},
        "budget": {"trials": 5, "epochs": 2},
    } | changes
    path = folder / "study.yaml"
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return path


def tiny_backbone(folder: Path) -> Path:
    """Save a random BERT of two blocks that knows the words of the rows, with its tokenizer."""
    words = [*FILLERS, *(word for topic in TOPICS.values() for word in topic)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(config)
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    transformers_logging.enable_progress_bar()
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command: offline, one thread, no proxies and no Python path of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "PYTHONPATH"
    }
    return kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | changes


def paradapt(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    return subprocess.run(
        [COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """Start the real command, its standard error readable line by line."""
    return subprocess.Popen(
        [COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listing(folder: Path) -> dict[str, int]:
    """Every file and folder below, with its time of change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def messages(stderr):
    """The command's messages, without the lines that tell how it gets on."""
    assert "Traceback" not in stderr
    lines = stderr.splitlines()
    return [line.removeprefix("paradapt: ") for line in lines if line.startswith("paradapt: ")]
