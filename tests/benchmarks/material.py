"""What the benchmarks train on: the built-in docstrings, MiniLM, and structures fixed in a file."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from search.context import StudyContext, prepare
from search.study_file import load_study_file
from space.adapter import Adapter
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.benchmarks.plain import Feature, PlainData
from trainers.backbone_source import source_of
from trainers.data import TokenTable

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "quickstart.yaml"
REAL_LENGTHS = {"data.max_length": 64}
"""The default of a study file; the quickstart cuts its texts to be done sooner."""
SPECS = Path(__file__).with_name("specs.json")
FOUR_ROLES = ("query", "key", "value", "attention_output")


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A structure to be timed, with the rates that it is trained with."""

    name: str
    spec: AdapterSpec
    learning: Learning


def context_of(
    folder: Path, *, study: Path = STUDY, changes: Mapping[str, Any] | None = None
) -> StudyContext:
    """Return the context of a study whose files (storage, cache, weights) are in `folder`.

    The quickstart's texts have their real lengths, whatever they are cut to in its file.
    """
    moved = folder / study.name
    moved.write_text(study.read_text(encoding="utf-8"), encoding="utf-8")
    all_changes = (REAL_LENGTHS if study == STUDY else {}) | dict(changes or {})
    overrides = [f"{key}={json.dumps(value)}" for key, value in all_changes.items()]
    context = prepare(load_study_file(moved, overrides), folder, lambda _stage: None)
    quietly()  # loading a backbone turns the bars on again
    return context


def plain_data(context: StudyContext) -> PlainData:
    """Return the same rows, split and labels as a plain loop takes them."""
    assert context.backbone.tokenizer is not None
    return PlainData(
        folder=source_of(context.study.backbone, Path.cwd()),
        tokenizer=context.backbone.tokenizer,
        train=features(context.train),
        validation=features(context.validation),
        n_labels=context.n_outputs,
        batch_size=context.study.training.batch_size,
    )


def features(table: Any) -> list[Feature]:
    """Return the rows of a table as a tokenizer gives them."""
    assert isinstance(table, TokenTable)
    rows = zip(table.offsets[:-1], table.offsets[1:], table.labels, strict=True)
    return [
        {
            "input_ids": table.ids[start:end].tolist(),
            "attention_mask": [1] * int(end - start),
            "labels": int(label),
        }
        for start, end, label in rows
    ]


def sampled() -> list[Structure]:
    """Return the 12 structures that a study sampled (specs.json says which)."""
    content = json.loads(SPECS.read_text(encoding="utf-8"))
    return [
        Structure(
            name=f"trial {entry['trial']}",
            spec=AdapterSpec.from_dict(entry["spec"]),
            learning=Learning(**entry["learning"]),
        )
        for entry in content["structures"]
    ]


def lora(n_layers: int, first: int, *, rate: float = 3e-3, name: str = "") -> Structure:
    """Return LoRA r=8 at the four roles of attention, in all blocks from `first` on."""
    adapters = tuple(
        Adapter(layer=layer, role=role, kind="lora", rank=8, alpha=16.0)
        for layer in range(first, n_layers)
        for role in FOUR_ROLES
    )
    return Structure(
        name=name or f"LoRA from block {first} on",
        spec=AdapterSpec(depth=n_layers, adapters=adapters),
        learning=Learning(learning_rate=rate, head_learning_rate=1e-2),
    )


def quietly() -> None:
    """Keep off the screen what transformers, PEFT and Lightning say with every trial."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # PEFT 0.21 asks transformers 5.23 for a property by its old name.
    warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)
    # Lightning 2.6 calls what torch 2.13 has renamed, in every fit.
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)", FutureWarning)
