"""Side networks from the study file to predictions."""

import csv

import optuna
import pytest
from click.testing import CliRunner

from search.cli import main
from space.spec import AdapterSpec
from tests.end_to_end.task_studies import N_ROWS, STUDIES, write_task_study
from tests.search.finished_study import tracking_store
from trainers.bundle import read_config

SPACE = {"depth": [2, 3], "kinds": ["side", "lora"], "rank": [4], "side_width": [8, 16]}


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """Hidden states and what was timed are kept in the user's cache folder: not the tester's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def paradapt(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


# Every way to answer, and families whose blocks need all of their arguments.
@pytest.mark.parametrize("name", ["classes-of-texts", "tags-in-lists", "language", "images"])
def test_a_study_of_side_networks_and_lora_goes_all_the_way(tmp_path, name):
    path = write_task_study(
        name,
        tmp_path,
        space=SPACE,
        budget={"trials": 6, "epochs": 1},
        baselines=["head_only"] if name != "language" else [],
    )
    tracking_store(tmp_path)
    said = paradapt("search", path, "--dry-run").stdout
    assert "Beside the blocks: side networks of width 8, 16" in said
    paradapt("search", path)
    stored = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path / 'paradapt.db'}")
    specs = {t.number: AdapterSpec.from_json(t.user_attrs["spec"]) for t in stored.trials}
    ends = {t.number: t.user_attrs["end"] for t in stored.trials}
    beside = [n for n, spec in specs.items() if spec.side is not None and ends[n] == "complete"]
    assert beside
    assert any(spec.side is None for spec in specs.values())
    for number in beside:
        params = stored.trials[number].params
        assert params["side"] is True
        assert not [name for name in params if name.endswith(("_kind", "_rank"))]
    bundle, answers = tmp_path / "bundle", tmp_path / "answers.csv"
    paradapt("export", path, "--select", f"trial:{beside[0]}", "--output", bundle)
    assert read_config(bundle).spec == specs[beside[0]]
    source = tmp_path / STUDIES[name].file
    paradapt("predict", bundle, "--input", source, "--output", answers)
    with answers.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == N_ROWS
