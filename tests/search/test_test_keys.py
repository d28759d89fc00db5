"""`data.test` and `data.test_share`: where sealed rows may come from."""

import pytest

from search.store import contract_of


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            {"source": "docstrings", "test": "t.csv"},
            "data.test: goes with `data.train`, but got 't.csv'; the built-in source 'docstrings'"
            " is split by itself (data.test_share).",
        ),
        (
            {"train": "a.csv", "test": "t.csv", "test_share": 0.2},
            "data.test_share: goes with no `data.test`: the test rows come from there or from"
            " here.",
        ),
        (
            {"train": "a.csv", "test_share": 0.5, "validation_share": 0.5},
            "data.test_share: leaves no row to train on: with data.validation_share it is 1 of the"
            " rows.",
        ),
        ({"train": "a.csv", "test_share": 0}, "data.test_share: must be at least 0.001"),
        ({"train": "a.csv", "test_share": 1}, "data.test_share: must be at most 0.999"),
        ({"train": "a.csv", "tets": "t.csv"}, "data.tets: unknown key"),
    ],
)
def test_what_is_refused(problems, data, why):
    (found,) = problems(data=data)
    assert found.startswith(why)


def test_a_share_beside_a_validation_file_may_be_great(load):
    data = {"train": "a.csv", "validation": "v.csv", "validation_share": 0.5, "test_share": 0.6}
    assert load(data=data).data.test_share == 0.6


def test_the_file_is_relative_to_the_study_file_and_need_not_be_there(load, tmp_path):
    data = {"train": "a.csv", "test": "sealed/t.csv"}
    assert load(data=data).data.test == str(tmp_path / "sealed" / "t.csv")


def test_a_test_file_may_be_named_once_the_search_is_done(context_of):
    without = context_of()
    with_test = context_of(data={"train": "rows.csv", "max_length": 32, "test": "gone.csv"})
    assert contract_of(with_test) == contract_of(without)


def test_rows_that_are_sealed_off_make_another_study(context_of):
    share = {"train": "rows.csv", "max_length": 32, "test_share": 0.2}
    own, other = contract_of(context_of(data=share)), contract_of(context_of())
    assert {key for key in own if own[key] != other[key]} == {"data"}
