"""Bundles of every kind of task, with skips, exits and a side network, on a nudged backbone."""

import pytest
import torch

from search.migrate import migrate
from search.migration_inputs import Request
from search.progress import Progress
from search.study_file import load_study_file
from space.adapter import Adapter, TokenSkip
from space.side import Side
from space.spec import AdapterSpec
from tests.end_to_end.task_studies import write_task_study
from tests.search.migrated import lora, train_bundle
from tests.trainers.updates import shaken
from trainers.bundle import load
from trainers.outline import SAME
from trainers.weights import read_tensors

EXPERTS = Adapter(
    layer=1, role="value", kind="lora", rank=2, alpha=4, experts=2, top_k=1, router="token"
)
SPECS = {
    "classes-of-texts": AdapterSpec(depth=3, adapters=(lora(0), EXPERTS), exits=(1, 2)),
    "numbers": AdapterSpec(
        depth=3, adapters=(lora(2),), skips=(TokenSkip(layer=1, token_keep=0.5, rank=2),)
    ),
    "tags": AdapterSpec(depth=3, side=Side(width=4, boundaries=(1, 3)), pooling="none"),
    "images": AdapterSpec(depth=2, adapters=(lora(1),), pooling="attention"),
    "language": AdapterSpec(depth=4, adapters=(lora(3),), pooling="none"),
}


@pytest.fixture(params=SPECS)
def moved(request, tmp_path, monkeypatch):
    """A bundle of a task that was only moved, and its account."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    study = load_study_file(
        write_task_study(request.param, tmp_path, training={"precision": "float32"})
    )
    train_bundle(tmp_path / "old", study, SPECS[request.param])
    shaken(tmp_path / "backbone", tmp_path / "nudged", spread=0.01)
    asked = Request(
        folder=tmp_path / "old",
        backbone=str(tmp_path / "nudged"),
        output=tmp_path / "new",
        epochs=0,
        n_neighbours=0,
    )
    progress = Progress(1)
    try:
        yield tmp_path, migrate(study, asked, progress)
    finally:
        progress.close()


def test_all_weights_go_along_and_answer_nearly_alike(moved):
    folder, account = moved
    assert account.relation == SAME and account.new_parts == () and account.dropped == ()
    old, new = (read_tensors(folder / name / "adapter.safetensors") for name in ("old", "new"))
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)
    first, before = account.quality[0], account.old
    assert account.moved[first] == pytest.approx(before[first], rel=0.3, abs=0.2)
    assert account.moved["trainable_params"] == before["trainable_params"]
    config = load(folder / "new").config
    assert (config.exit_threshold is not None) == bool(config.spec.exits)
