"""MiniLM, updated in three ways: the account of each is true, and refitting is quick."""

import json
from pathlib import Path

import pandas
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModel, AutoTokenizer

from search.cli import main
from search.context import prepare
from search.migrate import gentler
from search.study_file import load_study_file
from search.training import train_structure
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.end_to_end.tiny_study import write_study
from tests.search.migrated import account_of, lora, train_bundle
from tests.trainers.updates import pretrained_further, wider, without_blocks
from trainers.backbone_source import source_of
from trainers.bundle import load
from trainers.data.docstrings import docstring_rows
from trainers.weights import read_tensors

pytestmark = pytest.mark.slow

EPOCHS = 4
RATES = Learning(learning_rate=2e-3, head_learning_rate=1e-2)
SPEC = AdapterSpec(
    depth=6, adapters=tuple(lora(i, role, 8) for i in (3, 4, 5) for role in ("query", "value"))
)
N_TRAIN = 640
N_VALIDATION = 160
ONE_ROW = 1.01 / N_VALIDATION
"""Where two labels are all but equal."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Docstrings, a bundle that was trained on them, and three updates of its backbone."""
    folder = tmp_path_factory.mktemp("minilm")
    rows = docstring_rows(80).sample(frac=1, random_state=0)
    rows[:N_TRAIN].to_csv(folder / "train.csv", index=False)
    rows[N_TRAIN:].to_csv(folder / "validation.csv", index=False)
    source = Path(source_of("minilm", folder))
    pretrained_further(source, folder / "nudged", list(rows["text"][:N_TRAIN]), steps=40)
    without_blocks(source, folder / "short", (2, 3))
    wider(source, folder / "wide")
    data = {"train": "train.csv", "validation": "validation.csv", "max_length": 16}
    training = {"precision": "float32"}
    path = write_study(
        folder,
        data=data,
        training=training,
        space={"depth": [4, 5, 6], "roles": ["query", "value"], "kinds": ["lora"]},
        budget={"trials": 3, "epochs": EPOCHS},
        cache={"folder": "cache"},
    )
    train_bundle(folder / "old", load_study_file(path), SPEC, learning=RATES)
    return folder


def migrated(place, name, *words):
    done = CliRunner().invoke(
        main,
        [
            *("migrate", str(place / "old"), "--backbone", str(place / name)),
            *("--data", str(place / "study.yaml"), "--output", str(place / f"on-{name}")),
            *words,
        ],
    )
    assert done.exit_code == 0, (done.output, done.exception)
    print(done.stdout)
    return account_of(place / f"on-{name}")


@torch.no_grad()
def accuracy(place, bundle, backbone):
    """Of a bundle, computed with transformers alone: weights merged by hand, pooled by hand."""
    config, state = load(bundle).config, read_tensors(bundle / "adapter.safetensors")
    model = AutoModel.from_pretrained(backbone, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    for adapter in config.spec.adapters:
        own = model.encoder.layer[adapter.layer].attention.self.get_submodule(adapter.role)
        name = f"adapters.{adapter.layer}.{adapter.role}"
        own.weight += adapter.alpha / adapter.rank * state[f"{name}.up"] @ state[f"{name}.down"]
    model.encoder.layer = model.encoder.layer[: config.spec.depth]
    rows = pandas.read_csv(place / "validation.csv")
    n_right = 0
    for start in range(0, len(rows), 64):
        chunk = rows[start : start + 64]
        batch = tokenizer(
            list(chunk["text"]), truncation=True, max_length=16, padding=True, return_tensors="pt"
        )
        mask = batch["attention_mask"][..., None]
        pooled = (model(**batch)[0] * mask).sum(1) / mask.sum(1)
        logits = pooled @ state["head.linear.weight"].T + state["head.linear.bias"]
        n_right += sum(
            config.labels[i] == label
            for i, label in zip(logits.argmax(-1), chunk["label"], strict=True)
        )
    return n_right / len(rows)


def test_weights_that_were_nudged(place):
    account = migrated(place, "nudged", "--search", "2")
    results = account["results"]
    before = accuracy(place, place / "old", source_of("minilm", place))
    assert results["before"]["accuracy"] == pytest.approx(before, abs=ONE_ROW)
    after = accuracy(place, place / "on-nudged", place / "nudged")
    assert results["trained"]["accuracy"] == pytest.approx(after, abs=ONE_ROW)
    assert account["relation"] == "same shape" and account["training"]["epochs"] == 1
    assert len(account["front"]["complete"]) == 2


def test_two_blocks_removed(place):
    account = migrated(place, "short")
    spec = load(place / "on-short").config.spec
    assert account["relation"] == "fewer blocks"
    # 3, 4 and 5 of 6 blocks are 2, 3 (2.67) and 3 (3.33) of 4.
    assert spec.depth == 4 and spec.insertion_layers == (2, 3)
    assert [text.partition(":")[0] for text in account["dropped"]] == ["query", "value"]
    after = accuracy(place, place / "on-short", place / "short")
    assert account["results"]["trained"]["accuracy"] == pytest.approx(after, abs=ONE_ROW)
    ratio = account["results"]["trained"]["inference_gflops"]
    assert ratio / account["results"]["before"]["inference_gflops"] == pytest.approx(
        4 / 6, abs=0.01
    )


def test_a_wider_model(place):
    account = migrated(place, "wide")
    assert account["relation"] == "another shape" and account["results"]["moved"] is None
    assert load(place / "on-wide").config.spec == SPEC
    after = accuracy(place, place / "on-wide", place / "wide")
    assert account["results"]["trained"]["accuracy"] == pytest.approx(after, abs=ONE_ROW)


def test_refitting_takes_at_most_half_the_steps_of_training_anew(place):
    """To the accuracy that training anew ends with, from when it first has it."""
    study = load_study_file(place / "study.yaml").model_copy(
        update={"backbone": str(place / "nudged")}
    )

    def curve(epochs, rates, start):
        budget = study.budget.model_copy(update={"epochs": epochs})
        context = prepare(study.model_copy(update={"budget": budget}), place, stage=lambda _: None)
        found = []

        def report(epoch):
            found.append((epoch.epoch, epoch.metrics["accuracy"]))
            return True

        rungs = [quarter / 4 for quarter in range(1, 4 * epochs)]
        train_structure(
            context, SPEC, rates, report=report, tick=lambda *_: None, rungs=rungs, start=start
        )
        return found

    n_steps = -(-N_TRAIN // study.training.batch_size)
    anew = curve(EPOCHS, RATES, None)
    wanted = anew[-1][1]
    moved = read_tensors(place / "old" / "adapter.safetensors")
    refitted = curve(EPOCHS // 2, gentler(RATES), moved)
    first = {
        name: next((epoch for epoch, score in found if score >= wanted), None)
        for name, found in (("anew", anew), ("refitted", refitted))
    }
    figures = {name: value and value * n_steps for name, value in first.items()}
    print(json.dumps({"wanted": wanted, "steps": figures, "anew": anew, "refitted": refitted}))
    assert first["refitted"] is not None and first["refitted"] <= first["anew"] / 2
