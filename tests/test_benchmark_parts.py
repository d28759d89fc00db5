"""The parts of the benchmarks, on a tiny study, and the table that they make."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from space.search_space import Learning
from tests.benchmarks import accuracy, cache_gain, contributions, engine
from tests.benchmarks import table as table_of_parts
from tests.benchmarks.engine import (
    Pair,
    pair_of,
    peak_rows,
    profile_of,
    ratio_row,
    sampled_rows,
    with_epochs,
)
from tests.benchmarks.material import Structure, context_of, lora, plain_data
from tests.benchmarks.ours import OurRun
from tests.benchmarks.plain import PlainRun, run_plain
from tests.benchmarks.plain_process import plain_process
from tests.benchmarks.rows import Found, Row
from tests.benchmarks.sizes import QUICK
from tests.benchmarks.study import judged, plain_study, reference_of
from tests.benchmarks.work import work_of
from tests.end_to_end.tiny_study import tiny_backbone, write_rows, write_study
from tests.trainers.tiny import structure

# PEFT 0.21 asks transformers 5.23 for a property by its old name.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


def pair(name, plain_s, ours_s, plain_accuracy=0.7, our_accuracy=0.7):
    spec = structure(1, (0,), {"query": "lora"})
    learning = Learning(learning_rate=1e-2, head_learning_rate=1e-2)
    ours = OurRun(accuracy=our_accuracy, seconds=ours_s, cpu_s=ours_s)
    return Pair(
        structure=Structure(name=name, spec=spec, learning=learning),
        plain=PlainRun(accuracy=plain_accuracy, seconds=plain_s, cpu_s=plain_s),
        ours=ours,
        first=replace(ours, seconds=2 * ours_s),
        gflops=100.0,
    )


def test_rows_of_the_sampled_structures():
    pairs = [pair("a", 30.0, 3.0, 0.70, 0.71), pair("b", 10.0, 2.0, 0.60, 0.58)]
    assert ratio_row(pairs[0], least=10.0).holds is True
    assert ratio_row(pairs[1], least=10.0).holds is False
    speed, filled, points = sampled_rows(pairs)
    assert speed.measured == pytest.approx(8.0)  # of all seconds, not the mean of 10 and 5
    assert filled.measured == pytest.approx(4.0)
    assert points.measured == pytest.approx(-0.5)


def test_the_row_of_the_accuracies():
    """Two structures with two seeds: ours is 0.8, 0, 0.8 and 0 points worse."""
    pairs = [
        accuracy.Pair(structure=name, seed=seed, plain=0.70, ours=ours)
        for seed in (1, 2)
        for name, ours in (("a", 0.692), ("b", 0.70))
    ]
    row = accuracy.row_of(pairs)
    assert (row.measured, row.holds) == (pytest.approx(0.4), True)
    assert row.name.startswith("2 sampled structures")
    assert "ours -0.40 with a standard error of 0.23" in row.note
    assert "seed by seed -0.40, -0.40" in row.note


def test_a_seed_is_the_same_for_both_ways(context, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(accuracy, "context_of", lambda _folder, changes: with_epochs(context, 1))
    monkeypatch.setattr(accuracy, "sampled", lambda: [lora(2, 1, name="a")])
    monkeypatch.setattr(accuracy, "_known", {})
    for name in ("run_plain", "run_ours"):
        real = getattr(accuracy, name)

        def noted(*words, real=real, **how):
            given.append(how.get("seed", getattr(words[0], "study", None)))
            return real(*words, **how)

        monkeypatch.setattr(accuracy, name, noted)
    accuracy.begin_worker(QUICK, torch.get_num_threads(), tmp_path)
    pair = accuracy.pair_of((7, 0))
    assert (given[0], given[1].seed) == (7, 7)
    assert (pair.structure, pair.seed) == ("a", 7)
    assert 0 < pair.plain <= 1 and 0 < pair.ours <= 1


def test_rows_of_the_peak():
    profiles = {"a": {"matrix products": 0.6, "softmax": 0.4}, "b": {"matrix products": 0.8}}
    peaks = {"float32": 80.0, "bfloat16": 400.0}
    float32, bfloat16, products = peak_rows(
        [pair("a", 9.0, 3.0), pair("b", 9.0, 2.0)], peaks, "float32", profiles
    )
    assert (float32.measured, float32.holds) == (pytest.approx(50.0), True)
    assert (bfloat16.measured, bfloat16.holds) == (pytest.approx(10.0), False)
    assert products.measured == pytest.approx(70.0)
    assert "softmax 20.0%" in products.note


def test_lora_from_a_block_on_reads_the_boundary_below_it():
    assert lora(6, 4).spec.boundaries == (4,)
    assert lora(6, 0).spec.boundaries == ()


def test_a_table_keeps_the_parts_that_were_not_run(tmp_path, monkeypatch, capsys):
    output = tmp_path / "found.json"
    output.write_text(json.dumps({"gpu": {"rows": []}}))
    parts = {"engine": lambda sizes: Found(rows=[Row(name="a", measured=sizes.rows, at_most=9)])}

    def here(part, threads, sizes):
        path = tmp_path / "part.json"
        table_of_parts.run_part(part, threads, sizes, path)
        return json.loads(path.read_text())

    monkeypatch.setattr(table_of_parts, "PARTS", parts)
    monkeypatch.setattr(table_of_parts, "apart", here)
    assert table_of_parts.main(["--quick", "--output", str(output), "engine"]) == 1
    content = json.loads(output.read_text())
    assert content.keys() == {"gpu", "engine"}
    assert content["engine"]["rows"][0]["measured"] == QUICK.rows
    assert "NO" in capsys.readouterr().out


def test_a_part_that_is_not_there_is_told(capsys):
    with pytest.raises(SystemExit):
        table_of_parts.main(["engin"])
    assert "there is no part engin; parts are engine" in capsys.readouterr().err


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A study of easy rows on a random backbone of two blocks."""
    folder = tmp_path_factory.mktemp("study")
    study = write_study(
        folder,
        backbone=str(tiny_backbone(folder / "backbone")),
        data={"train": str(write_rows(folder / "rows.csv")), "max_length": 32},
        space={"depth": [1, 2], "kinds": ["lora", "bottleneck"], "rank": [2], "pooling": ["mean"]},
    )
    (folder / "own").mkdir()
    changes = {"budget.epochs": 2, "cache.folder": str(folder / "cache")}
    return context_of(folder / "own", study=study, changes=changes)


def test_the_plain_loop_gets_the_rows_of_the_study(context):
    data = plain_data(context)
    assert len(data.train) == len(context.train)
    assert len(data.validation) == len(context.validation)
    batch = context.train.collate([3])
    assert data.train[3]["input_ids"] == batch.inputs["input_ids"][0].tolist()
    assert data.train[3]["labels"] == batch.labels.item()
    assert data.n_labels == context.n_outputs


def test_a_structure_is_trained_both_ways(context):
    with plain_process(plain_data(context)) as plain:
        found = pair_of(with_epochs(context, 1), plain, lora(2, 1))
    assert found.ratio == found.plain.seconds / found.ours.seconds
    assert found.first is not found.ours  # it had a boundary to fill
    work = work_of(context.cost, found.structure.spec)
    n_train, n_validation = len(context.train), len(context.validation)
    in_all = work.trial_gflops(n_train, n_validation, 1, cached=True)
    assert found.gflops == pytest.approx(in_all, rel=0.1)  # validation rows are as long
    assert json.dumps(found.to_dict())
    assert "matrix products" in profile_of(context, found.structure)


def test_a_structure_without_a_prefix_fills_nothing(context):
    found = pair_of(with_epochs(context, 1), partial(run_plain, plain_data(context)), lora(2, 0))
    assert found.first is found.ours


def test_the_median_of_the_turns_counts(context, monkeypatch):
    seconds = {"plain": iter([30.0, 10.0, 20.0]), "ours": iter([3.0, 2.0, 1.0])}

    def run_plain(*_, **__):
        return PlainRun(accuracy=0.7, seconds=next(seconds["plain"]), cpu_s=1.0)

    def run_ours(*_):
        return OurRun(accuracy=0.7, seconds=next(seconds["ours"]), cpu_s=1.0)

    monkeypatch.setattr(engine, "run_ours", run_ours)
    found = pair_of(context, run_plain, lora(2, 0), turns=3)
    assert (found.plain.seconds, found.ours.seconds, found.ratio) == (20.0, 2.0, 10.0)


def test_the_gain_of_a_cache_is_predicted_by_block_passes(context, tmp_path):
    off, on = cache_gain.in_turns(context, lora(2, 1), tmp_path)
    assert len(off) == len(on) == cache_gain.TURNS
    # By blocks: twice (forward through two, backward through one) to once less of the lower one.
    n, m = len(context.train), len(context.validation)
    by_blocks = (2 * (3 * n + 2 * m)) / (2 * (2 * n + m) + n + m)
    assert cache_gain.predicted_gain(context, lora(2, 1)) == pytest.approx(by_blocks, rel=0.1)


def test_each_line_of_the_contributions_takes_the_same_rows(context, tmp_path):
    made = contributions.variants(context, plain_data(context), lora(2, 1), tmp_path)
    assert list(made)[:3] == [contributions.PLAIN, contributions.OURS, contributions.ALIKE]
    assert list(made)[-1] == contributions.CACHE
    assert {name: sum(steps) for name, steps in made.items()} == dict.fromkeys(
        made, len(context.train)
    )


def test_speeds_are_of_all_steps_but_the_first():
    found = contributions.in_turns({"a": iter((5, 7, 9)), "b": iter((5, 7, 9))})
    assert found.keys() == {"a", "b"}
    assert min(found.values()) > 0


def test_a_plain_study_is_a_curve(context):
    short = with_epochs(context, 1)
    budget = short.study.budget.model_copy(update={"trials": 2})
    short = replace(short, study=short.study.model_copy(update={"budget": budget}))
    found = plain_study(short)
    (first, *_), (second, *_) = found["plain"]
    assert 0 < first < second <= found["plain_s"]
    reference = reference_of(short)
    assert reference[0] == pytest.approx(1 / 3)
    assert all(cost < reference[1] for _, _, cost in found["plain"])
    again = judged(found | {"ours": found["plain"], "reference": reference})
    assert again["plain_hypervolume"] == again["ours_hypervolume"]
    assert again["reached_s"] in (first, second)


@pytest.mark.parametrize(
    ("part", "wanted"),
    [(engine, (5, 10, 7, 20)), (contributions, ()), (cache_gain, (0.85,))],
)
def test_a_part_runs_whole(part, wanted, context, monkeypatch, capsys):
    monkeypatch.setattr(part, "context_of", lambda _folder, changes: with_epochs(context, 1))
    monkeypatch.setattr(engine, "sampled", lambda: [lora(2, 1, name="a"), lora(2, 0, name="b")])
    found = part.measure(replace(QUICK, named_epochs=1, cuts=(1,)))
    bounds = [row.at_least or row.at_most for row in found.rows]
    assert set(wanted) <= set(bounds)
    assert all(row.measured is not None for row in found.rows)
    assert json.dumps(found.details)
    assert capsys.readouterr().out
