"""What a user can get wrong with `confirm`: one message, status 2, and nothing written."""

import pytest

from search.context import prepare
from search.store import open_study
from search.study_file import load_study_file
from space.adapter import Adapter
from space.spec import AdapterSpec
from tests.end_to_end.tiny_study import rows, write_rows, write_study
from tests.search.finished_study import trial_of

DATA = {"train": "rows.csv", "test": "test.csv", "max_length": 32}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def begun(folder, backbone):
    """Return a function that stores the study with made-up trials."""

    def make(*trials):
        write_study(folder, backbone=str(backbone), data=DATA)
        study = load_study_file(folder / "study.yaml")
        stored = open_study(prepare(study, folder, stage=lambda _: None))
        stored.add_trials(trials)
        return folder

    return make


def complete():
    adapter = Adapter(layer=0, role="query", kind="lora", rank=2, alpha=4.0)
    spec = AdapterSpec(depth=2, adapters=(adapter,))
    return trial_of((0.9, 0.1), spec=spec, metrics={"accuracy": 0.9})


def test_a_study_without_a_test_split_is_told_what_to_write(refused):
    (message,) = refused("confirm")
    assert message.startswith("data.test: the study 'topics' names no test split")
    assert "`data.test: FILE`" in message and "`data.test_share: 0.2`" in message


def test_a_built_in_source_is_told_of_the_share_alone(refused):
    (message,) = refused("confirm", data={"source": "docstrings"})
    assert "`data.test: FILE`" not in message and "Write `data.test_share: 0.2`" in message


def test_no_study_yet(refused, folder):
    (message,) = refused("confirm", data=DATA)
    assert f"{folder}/paradapt.db holds no study 'topics' yet; run `paradapt search`" in message


def test_one_objective_alone(refused):
    (message,) = refused("confirm", data=DATA, objectives=[{"maximize": "accuracy"}])
    assert "objectives: " in message and "2" in message


def test_no_trial_that_came_to_its_end(refused, begun):
    pruned = trial_of(None, end="pruned", reason="rank 5 of 9 at rung 1")
    place = begun(pruned, pruned, trial_of(None, end="failed", reason="no memory"))
    (message,) = refused("confirm", place=place)
    assert "no complete trial (2 pruned, 1 failed), so there is nothing to confirm" in message


def test_a_choice_that_nothing_fits(refused, begun):
    (message,) = refused("confirm", "--select", "accuracy>=99%", place=begun(complete()))
    assert "No complete trial holds `accuracy>=99%`" in message


def test_a_test_file_that_is_not_there(refused, begun):
    (message,) = refused("confirm", place=begun(complete()))
    assert message.startswith("data.test: no file ")


def test_a_label_that_the_study_does_not_know_with_its_row(refused, begun):
    place = begun(complete())
    content = [f"{row['id']},{row['text']},{row['label']}" for row in rows(6)]
    content[4] = "4,rain near the coast,weather"
    (place / "test.csv").write_text("id,text,label\n" + "\n".join(content) + "\n")
    (message,) = refused("confirm", place=place)
    assert "data.test: labels that no row of training or validation has" in message
    assert "row 5 (`weather`). The labels are food, space, sport." in message


def test_rows_that_changed_since_the_search(refused, begun):
    place = begun(complete())
    write_rows(place / "rows.csv", 36)
    write_rows(place / "test.csv", 12, seed=3)
    (message, *_) = refused("confirm", place=place)
    assert message.startswith("data: the study 'topics' was begun with")
