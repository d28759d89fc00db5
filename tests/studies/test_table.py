"""The table of curves: how it is collected, and that what is wrong in it is found."""

import json

import pytest

from studies.benchmarks import check
from studies.benchmarks import table as tables
from studies.benchmarks.check import problems_in, problems_in_files
from studies.benchmarks.grid import grid_points
from studies.benchmarks.lines import append_line
from studies.benchmarks.table import CURVES, SUMS, collect, read_table, write_table
from studies.benchmarks.train import trained
from studies.benchmarks.trainings import DATA_SETS, FOLDER, POINTS, SEEDS
from tests.studies.synthetic import FACTS, made_up


def kept(point, data, seed):
    curve = [
        {"epoch": epoch, "seconds": epoch, "accuracy": 0.5, "validation_loss": 1, "train_loss": 1}
        for epoch in POINTS
    ]
    structure = point.spec.to_json()
    return {"data": data, "seed": seed, "structure": structure, "curve": curve}


class TestIntegrity:
    @pytest.fixture
    def table(self, shape, monkeypatch):
        monkeypatch.setattr(check, "MIN_STRUCTURES", 12)
        return made_up(shape, grid_points()[:12])

    def test_the_whole_grid_has_no_problem(self, whole_table, shape):
        assert problems_in(whole_table, FACTS, shape) == []

    def test_a_good_table_has_no_problem(self, table, shape):
        assert problems_in(table, FACTS, shape) == []

    @pytest.mark.parametrize(
        ("column", "value", "told"),
        [
            ("accuracy", float("nan"), "not finite"),
            ("accuracy", 1.5, "no share"),
            ("train_loss", -1.0, "no loss"),
            ("seconds", 0.0, "earlier than the point before"),
            ("epoch", 2.5, "missing"),
            ("seed", 7, "too many"),
            ("depth", 9, "depth is"),
            ("inference_gflops", 1.0, "by today's code"),
            ("training_gflops", 1.0, "by today's code"),
            ("trainable_params", 1, "by today's code"),
            ("gflops_so_far", 1.0, "by today's code"),
            ("kind", "prefix", "kind is"),
            ("rank", 64, "rank is"),
            ("structure", "{}", "missing"),
        ],
    )
    def test_one_wrong_number_is_found(self, table, shape, column, value, told):
        table.loc[2, column] = value  # of the third point of the first training
        assert any(told in problem for problem in problems_in(table, FACTS, shape))

    def test_a_row_that_is_missing_or_there_twice_is_found(self, table, shape):
        assert "1 rows are missing" in problems_in(table.drop(index=5), FACTS, shape)[0]
        table.loc[len(table)] = table.loc[0]
        assert "1 rows are there twice" in problems_in(table, FACTS, shape)[0]

    def test_too_few_structures_are_told(self, table, shape):
        some = table[table["structure"].isin(table["structure"].unique()[:5])]
        assert problems_in(some, FACTS, shape) == ["It has 5 structures; it needs 12."]

    def test_a_flipped_bit_of_the_file_is_found(self, table, tmp_path):
        write_table(table, FACTS, tmp_path)
        assert problems_in_files(tmp_path) == []
        content = bytearray((tmp_path / CURVES).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / CURVES).write_bytes(content)
        assert "SHA-256" in problems_in_files(tmp_path)[0]

    def test_what_is_written_is_what_is_read(self, table, tmp_path):
        write_table(table, FACTS, tmp_path)
        frame, facts = read_table(tmp_path)
        assert facts == FACTS
        assert (frame["accuracy"] == table["accuracy"]).all()
        assert json.loads((tmp_path / SUMS).read_text())["rows"] == len(table)


class TestCollecting:
    @pytest.fixture(autouse=True)
    def one_data_set(self, monkeypatch):
        """Files of the other lie beside the project, and not in it."""
        monkeypatch.setattr(tables, "DATA_SETS", ("docstrings",))

    def test_only_structures_with_all_their_trainings_are_taken(self, tmp_path, shape):
        first, second, third = grid_points()[:3]
        ended = [kept(point, "docstrings", seed) for point in (first, second) for seed in SEEDS]
        ended.append(kept(third, "docstrings", SEEDS[0]))
        ended[-2] = {**ended[-2], "failed": "a loss that is not finite"}
        del ended[-2]["curve"]
        assert "1 of 315 structures" in collect(ended, tmp_path)
        frame, facts = read_table(tmp_path)
        assert set(frame["structure"]) == {first.spec.to_json()}
        assert len(frame) == len(SEEDS) * len(POINTS)
        per_row = frame["training_gflops"].iloc[0]
        assert frame["gflops_so_far"].tolist() == [per_row * 1000 * e for e in frame["epoch"]]
        assert facts["data"]["docstrings"]["rows"] == 1000
        assert "max_length" in facts["data"]["docstrings"]["study"]

    def test_nothing_to_collect_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="No structure"):
            collect([], tmp_path)

    def test_a_line_that_was_cut_off_costs_that_training_alone(self, tmp_path):
        first, second = (kept(point, "docstrings", 0) for point in grid_points()[:2])
        path = tmp_path / "part-0-of-2.jsonl"
        path.write_text(json.dumps(first)[:40])
        append_line(path, second)
        append_line(path, first)
        assert list(trained(tmp_path)) == [second, first]


def test_the_table_that_is_shipped_is_whole():
    if not (FOLDER / CURVES).exists():
        pytest.skip("the table is not trained yet: see studies/benchmarks/README.md")
    assert problems_in_files() == []
    assert set(read_table()[0]["data"]) == set(DATA_SETS)
