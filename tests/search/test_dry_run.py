"""What a dry run says of families of all kinds, and that it begins nothing."""

import re

import pytest
from optuna.trial import FixedTrial

from search.baselines import BASELINES
from search.context import prepare
from search.dry_run import dry_run
from search.objectives import formatted, known_costs
from search.starting_points import starting_trials
from search.study_file import load_study_file
from space.size import n_structures
from tests.end_to_end.task_studies import write_task_study
from tests.end_to_end.tiny_study import listing, write_rows, write_study
from tests.trainers.tiny import N_LAYERS, save_tiny

SHOWN = ("inference_gflops", "training_gflops", "trainable_params", "adapter_mib")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """What experts were timed at is kept in the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def said_of(path):
    said, stages = [], []
    dry_run(load_study_file(path), path, stages.append, said.append)
    assert stages[-2:] == ["drawing structures", "timing a few steps"]
    return "\n".join(said)


def table_below(text, header):
    """The rows of the table whose header line holds a word, as lists of cells."""
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if header in line)
    rows = []
    for line in lines[place + 2 :]:
        if not line.strip() or "  " not in line.strip():
            break
        rows.append(re.split(r"\s{2,}", line.strip()))
    return rows


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "gpt2", "llama", "t5"])
def test_the_match_of_every_layer_is_shown(tmp_path, family):
    save_tiny(family, tmp_path / "backbone")
    write_rows(tmp_path / "rows.csv", 24)
    path = write_study(tmp_path, backbone="backbone", space=None)
    text = said_of(path)
    context = prepare(load_study_file(path), tmp_path, lambda _: None)
    rows = {row[0]: row for row in table_below(text, "where in a block")}
    assert {role for role in rows if role != "(none)"} == set(context.backbone.shape.roles)
    for role, (d_in, d_out) in context.backbone.shape.role_shapes:
        _, layers, count, width, kinds, _ = rows[role]
        assert (layers, count) == (f"0-{N_LAYERS - 1}", str(N_LAYERS))
        assert width == f"{d_in}->{d_out}" and "lora" in kinds
    assert ("takes no prefix" in text) == (not context.backbone.shape.takes_prefix)
    assert ("no token_keep below 1" in text) == (not context.backbone.shape.gathers_tokens)
    assert all(len(line) <= 100 for line in text.replace(str(tmp_path), "").splitlines())


def test_a_layer_without_a_role_is_listed(tmp_path):
    save_tiny("bert", tmp_path / "backbone")
    write_rows(tmp_path / "rows.csv", 24)
    kinds = {"kinds": ["lora"], "roles": ["query"]}
    text = said_of(write_study(tmp_path, backbone="backbone", space=kinds))
    kinds_of = {row[0]: row[4] for row in table_below(text, "where in a block")}
    assert kinds_of["query"] == "lora"
    assert all(kinds == "-" for role, kinds in kinds_of.items() if role != "query")


@pytest.mark.parametrize("name", ["classes-of-texts", "tags", "numbers", "images", "language"])
class TestTask:
    def test_nothing_is_begun(self, tmp_path, name):
        path = write_task_study(name, tmp_path)
        before = listing(tmp_path)
        text = said_of(path)
        assert listing(tmp_path) == before
        assert text.endswith("No study was begun. Without --dry-run it is.")

    def test_size_and_costs_are_those_of_the_space(self, tmp_path, name):
        path = write_task_study(name, tmp_path, baselines=list(BASELINES))
        text = said_of(path)
        context = prepare(load_study_file(path), tmp_path, lambda _: None)
        n = n_structures(context.space)
        assert f"Space: {n:,} different" in text or f"Space: {n:.3g} different" in text
        baselines = {row[0]: row[1:] for row in table_below(text, "inference_gflops  training")}
        assert set(baselines) == set(BASELINES)
        for baseline, cells in baselines.items():
            spec = BASELINES[baseline].build(context.backbone.shape, context.space)
            costs = known_costs(spec, context.cost)
            assert cells == [formatted(key, costs[key]) for key in SHOWN]
        starts = starting_trials("every_depth", context.space, context.study.budget.trials)
        _, title, below = text.partition("Starting points, trained next\n")
        exits = "exits" in context.study.space.model_fields_set  # which no starting point has
        assert bool(title) == bool(starts) == (not exits)
        header = "inference_gflops  training"
        shown = {row[0]: row[1:] for row in table_below(below, header)} if starts else {}
        assert set(shown) == set(starts)
        for title, cells in shown.items():
            spec, _ = context.space.sample(FixedTrial(starts[title]))
            costs = known_costs(spec, context.cost)
            assert cells == [formatted(key, costs[key]) for key in SHOWN]
        ranges = {row[0]: row[1:] for row in table_below(text, "least") if row[0] in SHOWN}
        for cells in ranges.values():
            least, median, most = (float(c.split(" ")[0].replace(",", "")) for c in cells)
            assert 0 <= least <= median <= most
        assert len(ranges) == 4 and all("%" in c for c in ranges["inference_gflops"])
        assert ("early exits not taken" in text) == exits

    def test_what_a_trial_takes_is_timed(self, tmp_path, name):
        text = said_of(write_task_study(name, tmp_path, budget={"trials": 7, "epochs": 3}))
        # 36 rows to train on, 16 a step.
        assert re.search(r"3 epochs of 3 steps of 16 rows, [\d.]+ tokens a row;", text)
        assert re.search(r"about \S+ s here \(\d+ ms a step, timed now\), [\d,]+ MiB", text)
        assert "all 7 trials: about " in text


def test_the_same_study_gives_the_same_but_for_the_times(tmp_path):
    path = write_task_study("classes-of-texts", tmp_path)
    texts = [said_of(path).partition("  about ")[0] for _ in range(2)]
    assert texts[0] == texts[1]
