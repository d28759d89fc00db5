"""What a study must have in common to go on, and who may run it."""

import os

import optuna
import pytest
import yaml

from search.context import prepare
from search.store import CONTRACT, load_study, only_driver, open_study
from search.study_file import load_study_file
from space.errors import UserError


class TestContract:
    @pytest.mark.parametrize(
        ("changes", "key", "values"),
        [
            ({"space": {"depth": [1, 2], "rank": [2, 8]}}, "space.rank", ("[2, 4]", "[2, 8]")),
            ({"space": {"depth": [2], "rank": [2, 4]}}, "space.depth", ("[1, 2]", "[2]")),
            (
                {"objectives": [{"maximize": "macro_f1"}, {"minimize": "inference_gflops"}]},
                "objectives",
                ("accuracy", "macro_f1"),
            ),
            (
                {"constraints": [{"latency_ms": {"max": 8}}]},
                "constraints",
                ("[]", "latency_ms <= 8"),
            ),
            ({"seed": 1}, "seed", ("0", "1")),
            ({"budget": {"trials": 5, "epochs": 2}}, "budget.epochs", ("1", "2")),
            ({"training": {"batch_size": 8}}, "training.batch_size", ("32", "8")),
            (
                {"training": {"exit_tolerance": 0.1}},
                "training.exit_tolerance",
                ("0.005", "0.1"),
            ),
            (
                {"space": {"depth": [1, 2], "rank": [2, 4], "experts": [2]}},
                "space.experts",
                ("[1]", "[2]"),
            ),
            (
                {"space": {"depth": [1, 2], "rank": [2, 4], "exits": ["middle"]}},
                "space.exits",
                ("['none']", "['middle']"),
            ),
            ({"data": {"train": "rows.csv", "max_length": 20}}, "data.max_length", ("32", "20")),
            ({"data": {"train": "rows.csv", "max_length": 32, "rows": 30}}, "data", ()),
        ],
    )
    def test_a_change_that_spoils_the_comparison_is_refused(self, context_of, changes, key, values):
        open_study(context_of())
        context = context_of(**changes)
        with pytest.raises(UserError) as caught:
            open_study(context)
        *differences, way_out = caught.value.problems
        (line,) = [line for line in differences if line.startswith(f"{key}: ")]
        assert "the study 'topics' was begun with" in line
        assert all(value in line for value in values)
        assert "Take the change back" in way_out and "change `name` (or `storage`)" in way_out

    def test_the_rows_of_the_file_are_part_of_it(self, context_of, tmp_path):
        open_study(context_of())
        context_of()
        rows = tmp_path / "rows.csv"
        rows.write_text(rows.read_text().replace("goal", "gaol", 1))
        changed = load_study_file(tmp_path / "study.yaml")
        with pytest.raises(UserError, match=r"^data: the study 'topics' was begun with"):
            open_study(prepare(changed, tmp_path, stage=lambda _: None))

    def test_a_refused_study_is_left_as_it_was(self, context_of):
        stored = open_study(context_of())
        before = dict(stored.user_attrs)
        with pytest.raises(UserError):
            open_study(context_of(seed=9))
        assert load_study(context_of().study).user_attrs == before

    @pytest.mark.parametrize(
        "changes",
        [
            {"budget": {"trials": 50, "epochs": 1, "minutes": 3}},
            {"sampler": "random"},
            {"pruner": "none"},
            {
                "pruning": {
                    "reduction": 3,
                    "first_rung": 0.5,
                    "min_peers": 2,
                    "patience": 2,
                    "resume": True,
                }
            },
            {"baselines": ["head_only"]},
            {"tracking": "http://127.0.0.1:5000"},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_what_leaves_trials_comparable_may_change(self, context_of, changes):
        first = open_study(context_of()).user_attrs[CONTRACT]
        stored = open_study(context_of(**changes))
        assert stored.user_attrs[CONTRACT] == first
        written = yaml.safe_load(stored.user_attrs["study_file"])
        assert written.items() >= changes.items()

    def test_a_study_of_that_name_that_is_not_ours_is_refused(self, context_of, tmp_path):
        other = optuna.create_study(
            study_name="topics", storage=f"sqlite:///{tmp_path / 'paradapt.db'}"
        )
        other.add_trial(optuna.create_trial(value=1.0))
        with pytest.raises(UserError, match="holds a study 'topics' that Paradapt did not begin"):
            open_study(context_of())

    def test_passwords_are_kept_out_of_the_storage(self, context_of):
        stored = open_study(context_of(tracking="http://me:secret@127.0.0.1:5000"))
        assert "secret" not in str(stored.user_attrs)


class TestOneDriver:
    def test_a_second_command_is_refused_while_the_first_runs(self, context_of):
        context = context_of()
        with only_driver(context):
            match = rf"process {os.getpid()}\)\. Wait for it"
            with pytest.raises(UserError, match=match), only_driver(context):
                pytest.fail("two drivers at a time")
        with only_driver(context):
            pass

    def test_the_lock_goes_with_an_error(self, context_of):
        context = context_of()
        with pytest.raises(KeyboardInterrupt), only_driver(context):
            raise KeyboardInterrupt
        with only_driver(context):
            assert (context.weights_folder / "driver.lock").read_text() == str(os.getpid())
