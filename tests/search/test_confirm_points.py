"""Which points of a front are confirmed, and as what."""

import pytest
from optuna.study import StudyDirection

from search.confirm_points import compared_metric, marks_now, near_best, points_of, usual_marks
from search.front import knee, pareto_front
from search.study_file import StudySpec
from space.adapter import Adapter
from space.errors import UserError
from space.spec import AdapterSpec
from tests.search.confirmed_study import memory_study
from tests.search.finished_study import finished_trials, trial_of
from tests.search.valid_study import VALID

WAYS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
NAMES = ("accuracy", "inference_gflops")


def study_of(**changes):
    return StudySpec.model_validate(VALID | changes)


def points(stored, *choices, full=True, tfidf=True, **changes):
    return points_of(stored, study_of(**changes), choices, full_fine_tuning=full, tfidf=tfidf)


def of(*values):
    return [
        trial_of(own, number=n, metrics=dict(zip(NAMES, own, strict=True)))
        for n, own in enumerate(values)
    ]


@pytest.fixture
def stored():
    return memory_study()


def test_by_default_the_usual_points_the_baselines_and_the_references(stored):
    found = points(stored)
    trials = stored.get_trials()
    front = pareto_front(trials, stored.directions)
    keys = [point.key for point in found]
    assert len(set(keys)) == len(keys)
    assert keys[-2:] == ["full_fine_tuning", "tfidf"]
    assert {"head_only", "lora_all", "bottleneck_all"} <= set(keys)
    marks = {mark: point for point in found for mark in point.marks}
    assert marks.keys() == {"knee", "best accuracy", "cheapest within 1 point of the best"}
    assert marks["knee"].trial.number == knee(front, stored.directions).number
    assert marks["best accuracy"].trial.values[0] == max(t.values[0] for t in front)


def test_a_chosen_structure_with_experts_gets_its_plain_counterpart():
    sparse = Adapter(
        layer=0, role="query", kind="lora", rank=4, alpha=8, experts=4, top_k=1, router="token"
    )
    spec = AdapterSpec(depth=1, adapters=(sparse,))
    own, plain, *others = points(memory_study([trial_of((0.9, 0.1), number=0, spec=spec)]))
    assert own.key == "trial-0"
    assert plain.key == "trial-0-plain" and plain.title == "trial 0 with plain adapters"
    assert plain.about("accuracy")["baseline"] == "trial-0-plain" and plain.marks == ()
    assert [point.key for point in others] == ["full_fine_tuning", "tfidf"]


def test_one_point_may_be_all_of_them():
    stored = memory_study(of((0.9, 0.1), (0.8, 0.2)))
    (own, *_) = points(stored)
    assert own.key == "trial-0"
    assert own.marks == ("knee", "best accuracy", "cheapest within 1 point of the best")


def test_a_baseline_on_the_front_is_confirmed_under_its_name():
    trials = [
        trial_of((0.9, 0.1), number=0, metrics={"accuracy": 0.9}, baseline="head_only"),
        trial_of((0.8, 0.2), number=1, metrics={"accuracy": 0.8}),
    ]
    (own, *others) = points(memory_study(trials))
    assert own.key == "head_only" and own.title == "head only" and "knee" in own.marks
    assert own.baseline == "head_only" and own.trial.number == 0
    assert [point.key for point in others] == ["full_fine_tuning", "tfidf"]


def test_choices_take_the_place_of_the_usual_ones(stored):
    found = points(stored, "trial:4", "accuracy", "trial:4")
    (own,) = [point for point in found if point.key == "trial-4"]
    assert own.marks == ("trial:4", "trial:4")
    assert not any("knee" in point.marks for point in found)


def test_references_may_be_left_out(stored):
    keys = [point.key for point in points(stored, full=False, tfidf=False)]
    assert not {"full_fine_tuning", "tfidf"} & set(keys)


def test_tfidf_is_for_texts_with_one_label(stored):
    found = points(stored, task="text-pair-classification")
    assert found[-1].key == "full_fine_tuning"


def test_a_baseline_that_did_not_come_to_its_end_is_left_out():
    trials = finished_trials()
    trials[1] = trial_of(None, number=1, end="failed", baseline="lora_all", reason="no memory")
    keys = [point.key for point in points(memory_study(trials))]
    assert "lora_all" not in keys and "head_only" in keys


def test_a_baseline_that_a_constraint_rules_out_is_confirmed_all_the_same():
    trials = finished_trials()
    trials[1] = trial_of(None, number=1, end="infeasible", baseline="lora_all", reason="too dear")
    found = {point.key: point for point in points(memory_study(trials))}
    assert found["lora_all"].about("accuracy")["search_score"] is None


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        ([], "it has no trial yet"),
        ([trial_of(None, end="pruned", reason="rank 3 of 4")], "1 pruned"),
        ([trial_of(None, end="failed", reason="no memory")], "1 failed"),
    ],
)
def test_without_a_complete_trial_there_is_nothing_to_confirm(trials, told):
    with pytest.raises(UserError, match=f"no complete trial .*{told}.* nothing to confirm"):
        points(memory_study(trials))


def test_a_choice_that_nothing_fits_is_told(stored):
    with pytest.raises(UserError, match="no trial 99"):
        points(stored, "trial:99")


def test_what_is_kept_of_a_point(stored):
    about = {point.key: point.about("accuracy") for point in points(stored)}
    trials = stored.get_trials()
    assert about["lora_all"]["trial"] == 1
    assert about["lora_all"]["search_score"] == trials[1].values[0]
    assert about["lora_all"]["structure"]
    assert about["full_fine_tuning"] == {
        "title": "full fine-tuning",
        "trial": None,
        "baseline": "full_fine_tuning",
        "marks": [],
        "search_score": None,
        "structure": "",
    }


class TestNearBest:
    def test_the_cheapest_within_a_point_is_taken(self):
        front = of((0.90, 1.0), (0.89, 0.5), (0.88, 0.1))
        assert near_best(front, WAYS, NAMES).number == 1

    def test_without_one_it_is_the_best_itself(self):
        assert near_best(of((0.90, 1.0), (0.5, 0.1)), WAYS, NAMES).number == 0

    def test_of_what_is_no_share_one_percent_is_near(self):
        ways = [StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
        front = of((20.0, 1.0), (20.1, 0.5), (20.5, 0.1))
        assert near_best(front, ways, ("perplexity", "inference_gflops")).number == 1


class TestMarks:
    def test_what_a_point_has_lost_is_an_earlier_mark(self):
        assert marks_now(["knee", "trial:3"], ("best accuracy",)) == (
            "best accuracy",
            "earlier knee",
            "trial:3",
        )

    def test_an_earlier_mark_stays_one(self):
        assert marks_now(["earlier knee"], ()) == ("earlier knee",)

    def test_none_stands_twice(self):
        assert marks_now(["knee", "knee"], ("knee",)) == ("knee",)

    def test_the_usual_ones_are_those_of_the_trials_as_they_are_now(self, stored):
        usual = usual_marks(stored, study_of())
        assert sorted(mark.split()[0] for own in usual.values() for mark in own) == [
            "best",
            "cheapest",
            "knee",
        ]


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({}, "accuracy"),
        ({"objectives": ({"maximize": "macro_f1"}, {"minimize": "train_s"})}, "macro_f1"),
        ({"objectives": ({"minimize": "validation_loss"}, {"maximize": "macro_f1"})}, "macro_f1"),
        ({"objectives": ({"minimize": "train_s"}, {"minimize": "latency_ms"})}, "accuracy"),
        ({"task": "text-regression"}, "pearson"),
        ({"task": "causal-lm"}, "perplexity"),
    ],
)
def test_differences_are_tested_in_the_first_objective_that_rows_make(changes, metric):
    assert compared_metric(study_of(**changes)) == metric
