"""Confirmed results as they are read from the storage: points, comparisons, the winner's curse."""

import math
import statistics

import numpy as np
import optuna
import pytest

from search.confirm_tables import as_csv, as_json, in_words, markdown
from search.confirmed import (
    CONFIRM,
    PREFIX,
    Confirmed,
    ConfirmedRun,
    comparisons,
    confirmed,
    winners_curse,
)
from tests.search.confirmed_study import ACCURACIES, memory_study, put_confirmed
from tests.search.finished_study import finished_study


@pytest.fixture
def stored():
    return memory_study()


@pytest.fixture
def filled(stored):
    put_confirmed(stored)
    return stored


def run_of(seed, right, **metrics):
    answer = np.where(right, 1, 0).astype(np.uint8)
    return ConfirmedRun(
        key="x",
        seed=seed,
        metrics={"accuracy": float(np.mean(right)), **metrics},
        outcomes={"answer": answer, "label": np.ones_like(answer)},
    )


def point_of(*runs):
    return Confirmed(key="x", title="x", trial=1, baseline=None, runs=runs)


def test_a_study_that_was_not_confirmed_has_nothing(stored):
    assert confirmed(stored) == [] and comparisons(stored) == []
    assert winners_curse(stored) is None
    assert in_words(stored) == "Nothing is confirmed yet."
    assert as_json(stored)["points"] == []
    assert markdown(stored) == "Nothing is confirmed yet.\n"


def test_a_training_comes_back_from_the_storage_as_it_was(stored):
    run = run_of(3, np.array([True, False, True]), train_s=1.5)
    stored.set_user_attr("x", run.to_json())
    back = ConfirmedRun.from_json("x", 3, stored.user_attrs["x"])
    assert back.metrics == run.metrics
    assert back.outcomes.keys() == run.outcomes.keys()
    for name, values in run.outcomes.items():
        assert back.outcomes[name].dtype == values.dtype
        assert (back.outcomes[name] == values).all()


def test_what_rows_were_answered_takes_little_room():
    draw = np.random.default_rng(0)
    label = draw.integers(77, size=10_000).astype(np.uint8)
    answer = np.where(draw.random(10_000) < 0.9, label, (label + 1) % 77).astype(np.uint8)
    run = ConfirmedRun(key="x", seed=0, metrics={}, outcomes={"answer": answer, "label": label})
    assert len(run.to_json()["outcomes"]) < 30_000


class TestPoints:
    def test_means_and_deviations_are_those_of_the_seeds(self, filled):
        points = confirmed(filled)
        assert [point.key for point in points] == list(ACCURACIES)
        for point in points:
            values = [run.metrics["accuracy"] for run in point.runs]
            assert point.mean("accuracy") == pytest.approx(statistics.fmean(values))
            assert point.std("accuracy") == pytest.approx(statistics.stdev(values))
            low, high = point.interval("accuracy")
            assert low < point.mean("accuracy") < high

    def test_a_time_varies_with_the_seeds_alone(self, filled):
        (point, *_) = confirmed(filled)
        assert point.values("train_s") == [40.0, 41.0, 42.0]
        assert point.interval("train_s") == (40.0, 42.0)

    def test_what_a_point_lacks_is_not_a_number(self, filled):
        tfidf = confirmed(filled)[-1]
        assert tfidf.key == "tfidf"
        assert math.isnan(tfidf.mean("inference_gflops"))
        assert all(math.isnan(bound) for bound in tfidf.interval("inference_gflops"))

    def test_one_seed_has_an_interval_of_its_rows_and_no_deviation(self):
        right = np.random.default_rng(0).random(200) < 0.7
        point = point_of(run_of(0, right))
        assert math.isnan(point.std("accuracy"))
        low, high = point.interval("accuracy")
        spread = 1.96 * math.sqrt(right.mean() * (1 - right.mean()) / 200)
        assert (low, high) == pytest.approx(
            (right.mean() - spread, right.mean() + spread), abs=0.015
        )

    def test_results_of_another_contract_are_passed_by(self, filled):
        content = filled.user_attrs[f"{PREFIX}trial-5.0"]
        filled.set_user_attr(f"{PREFIX}trial-5.0", {**content, "contract": "another"})
        (point, *_) = confirmed(filled)
        assert [run.seed for run in point.runs] == [1, 2]

    def test_what_was_asked_for_and_not_trained_yet_is_left_out(self, filled):
        setting = filled.user_attrs[CONFIRM]
        about = setting["points"]["trial-5"] | {"trial": 9, "title": "trial 9"}
        points = setting["points"] | {"trial-9": about}
        filled.set_user_attr(CONFIRM, setting | {"points": points})
        assert "trial-9" not in {point.key for point in confirmed(filled)}


class TestComparisons:
    def test_each_chosen_point_is_compared_with_each_baseline_and_reference(self, filled):
        pairs = {(c.point.key, c.other.key) for c in comparisons(filled)}
        others = [key for key in ACCURACIES if not key.startswith("trial-")]
        assert pairs == {(own, other) for own in ("trial-5", "trial-7") for other in others}

    def test_great_differences_are_found_and_none_is_within_noise(self, stored):
        put_confirmed(stored, {"trial-5": 0.8, "head_only": 0.6, "lora_all": 0.8})
        better, alike = comparisons(stored)
        assert better.other.key == "head_only" and alike.other.key == "lora_all"
        assert not better.within_noise and better.better and better.interval[0] > 0.1
        assert alike.within_noise and alike.interval[0] < 0 < alike.interval[1]
        assert "trial 5 is better than head only by" in better.in_words
        assert "is within noise" in alike.in_words
        assert better.corrected == pytest.approx(2 * better.p_value)

    def test_a_point_that_is_worse_is_told_to_be(self, stored):
        put_confirmed(stored, {"trial-5": 0.6, "lora_all": 0.8})
        (comparison,) = comparisons(stored)
        assert "trial 5 is worse than LoRA in all layers by" in comparison.in_words
        assert not comparison.better and comparison.difference < 0

    def test_a_chosen_baseline_is_not_compared_with_itself(self, stored):
        marks = {"head_only": ("knee",)}
        put_confirmed(stored, {"head_only": 0.7, "lora_all": 0.8}, marks=marks)
        assert [(c.point.key, c.other.key) for c in comparisons(stored)] == [
            ("head_only", "lora_all")
        ]

    def test_only_seeds_that_both_have_are_compared(self, filled):
        setting = filled.user_attrs[CONFIRM]
        content = filled.user_attrs[f"{PREFIX}lora_all.2"]
        filled.set_user_attr(f"{PREFIX}lora_all.2", {**content, "contract": "another"})
        assert filled.user_attrs[CONFIRM] == setting
        own = [c for c in comparisons(filled) if c.other.key == "lora_all"]
        assert {c.n_seeds for c in own} == {2}
        runs = {p.key: p.values("accuracy") for p in confirmed(filled)}
        wanted = statistics.fmean(runs["trial-5"][:2]) - statistics.fmean(runs["lora_all"])
        assert own[0].difference == pytest.approx(wanted)

    def test_trials_that_differ_by_nothing_are_called_different_no_more_often_than_told(self):
        """Pairs of trainings alike but for chance: at most 5 % of them may come out different."""
        draw, n_rows, found = np.random.default_rng(0), 300, 0
        for _ in range(60):
            hardness = draw.random(n_rows)
            sides = [
                [hardness + 0.2 * draw.standard_normal(n_rows) < 0.7 for _ in range(3)]
                for _ in range(2)
            ]
            a, b = (
                point_of(*(run_of(seed, right) for seed, right in enumerate(side)))
                for side in sides
            )
            differences = a.resampled("accuracy", (0, 1, 2)) - b.resampled("accuracy", (0, 1, 2))
            found += not (np.quantile(differences, 0.025) <= 0 <= np.quantile(differences, 0.975))
        assert found <= 4


class TestWinnersCurse:
    def test_what_baselines_lose_too_is_no_price_of_having_been_chosen(self, filled):
        curse = winners_curse(filled)
        points = {point.key: point for point in confirmed(filled)}
        gaps = {
            key: points[key].search_score - points[key].mean("accuracy")
            for key in ("trial-5", "trial-7", "head_only", "lora_all", "bottleneck_all")
        }
        assert curse.gaps == pytest.approx(gaps)
        chosen = (gaps["trial-5"] + gaps["trial-7"]) / 2
        baselines = (gaps["head_only"] + gaps["lora_all"] + gaps["bottleneck_all"]) / 3
        assert curse.chosen == pytest.approx(chosen)
        assert curse.estimate == pytest.approx(chosen - baselines)

    def test_without_a_baseline_it_is_the_gap(self, stored):
        put_confirmed(stored, {"trial-5": 0.8, "tfidf": 0.7})
        curse = winners_curse(stored)
        assert curse.baselines is None and curse.estimate == curse.chosen

    def test_where_only_baselines_were_chosen_there_is_none(self, stored):
        put_confirmed(stored, {"lora_all": 0.8}, marks={"lora_all": ("knee",)})
        assert winners_curse(stored) is None


class TestTables:
    def test_the_terminal_shows_each_point_with_its_seeds_and_interval(self, filled):
        text = in_words(filled)
        for point in confirmed(filled):
            (line,) = [
                line
                for line in text.splitlines()
                if line.strip().startswith("3 ") and point.title in line
            ]
            assert f"{point.mean('accuracy'):.2%}" in line
            low, high = point.interval("accuracy")
            assert f"{low:.2%} to {high:.2%}" in line
        assert text.count("within noise") == sum(c.within_noise for c in comparisons(filled))
        assert "Winner's curse" in text

    def test_markdown_has_a_row_for_each_point(self, filled):
        rows = [line for line in markdown(filled).splitlines() if line.startswith("|")]
        assert len(rows) == 2 + len(ACCURACIES)
        assert len({row.count("|") for row in rows}) == 1

    def test_csv_has_a_row_for_each_training(self, filled, tmp_path):
        import pandas

        path = tmp_path / "confirm.csv"
        path.write_text(as_csv(filled), encoding="utf-8")
        table = pandas.read_csv(path)
        assert len(table) == 3 * len(ACCURACIES)
        own = table[table["key"] == "trial-5"]["accuracy"]
        assert own.tolist() == pytest.approx(confirmed(filled)[0].values("accuracy"))
        assert table[table["key"] == "tfidf"]["inference_gflops"].isna().all()

    def test_json_holds_plain_numbers_alone(self, filled):
        import json

        content = json.loads(json.dumps(as_json(filled), allow_nan=False))
        assert content["metric"] == "accuracy" and content["seeds"] == [0, 1, 2]
        assert len(content["points"]) == len(ACCURACIES)
        assert len(content["comparisons"]) == len(comparisons(filled))

    def test_one_seed_is_told_to_say_little(self, stored):
        put_confirmed(stored, {"trial-5": 0.8, "lora_all": 0.7}, seeds=(4,))
        assert "take --seeds 3" in in_words(stored)
        assert " - " in in_words(stored).splitlines()[4]


def test_it_is_read_again_by_a_new_process(filled, tmp_path):
    put_confirmed(finished_study(tmp_path))
    again = optuna.load_study(
        study_name="quickstart", storage=f"sqlite:///{tmp_path / 'paradapt.db'}"
    )
    assert [c.in_words for c in comparisons(again)] == [c.in_words for c in comparisons(filled)]
