"""What is recommended, on studies whose answer is plain."""

import pytest

from search.report.models import gather
from search.report.verdict import cost_metric, judge
from tests.search.confirmed_study import put_confirmed
from tests.search.finished_study import trial_of
from tests.search.report.reported_study import in_memory, stored_study

NAMES = ("accuracy", "inference_gflops")


def study_of(trials):
    """A study of (accuracy, GFLOPs, baseline or None) a trial."""
    found = []
    for number, (accuracy, gflops, baseline) in enumerate(trials):
        attrs = {"baseline": baseline} if baseline else {}
        metrics = {"accuracy": accuracy, "inference_gflops": gflops}
        found.append(trial_of((accuracy, gflops), metrics=metrics, number=number, **attrs))
    return in_memory(found)


def verdict_of(stored):
    return judge(gather(stored, NAMES))


def confirm(stored, accuracies, costs):
    """Confirm, and make every model as costly as wanted."""
    put_confirmed(stored, accuracies, n_rows=2000)
    for name, content in stored.user_attrs.items():
        if name.startswith("confirmed."):
            key = name.split(".")[1]
            content["metrics"].pop("inference_gflops", None)
            if costs.get(key) is not None:
                content["metrics"]["inference_gflops"] = costs[key]
            stored.set_user_attr(name, content)
    return verdict_of(stored)


TRIALS = [
    (0.70, 0.40, "head_only"),
    (0.80, 0.40, "lora_all"),
    (0.78, 0.41, "bottleneck_all"),
    (0.80, 0.20, None),
    (0.81, 0.30, None),
    (0.82, 0.35, None),
    (0.60, 0.10, None),
    (0.75, 0.15, None),
]
"""Trials 5 and 7 are confirmed."""
COSTS = {"trial-5": 0.35, "trial-7": 0.15, "head_only": 0.40, "lora_all": 0.40}


class TestUnconfirmed:
    def test_the_knee_is_to_be_confirmed_first_and_nothing_recommended(self):
        verdict = verdict_of(study_of(TRIALS))
        assert not verdict.is_confirmed
        assert verdict.model.key == "trial-3"
        assert verdict.best is None

    def test_it_is_set_against_every_baseline_without_a_judgement(self):
        verdict = verdict_of(study_of(TRIALS))
        found = {f.other.key: (f.kind, f.difference.value) for f in verdict.findings}
        assert found["lora_all"] == ("untested", 0.0)
        assert found["head_only"] == ("untested", pytest.approx(0.1))
        assert verdict.findings[0].cost_share.value == pytest.approx(0.5)

    def test_nothing_is_complete(self):
        verdict = verdict_of(in_memory([trial_of(None, end="failed")]))
        assert verdict.model is None
        assert verdict.findings == ()


class TestConfirmed:
    def test_the_cheaper_of_two_alike_is_taken(self):
        accuracies = {"trial-5": 0.82, "trial-7": 0.82, "head_only": 0.6, "lora_all": 0.7}
        verdict = confirm(study_of(TRIALS), accuracies, COSTS)
        assert verdict.model.key == "trial-7"

    def test_what_is_far_below_the_best_is_not_taken_however_cheap(self):
        accuracies = {"trial-5": 0.85, "trial-7": 0.70, "head_only": 0.6, "lora_all": 0.7}
        verdict = confirm(study_of(TRIALS), accuracies, COSTS)
        assert verdict.model.key == verdict.best.key == "trial-5"
        assert {f.kind for f in verdict.findings} == {"better"}

    def test_a_baseline_is_taken_where_the_search_found_nothing_better_or_cheaper(self):
        accuracies = {"trial-5": 0.75, "trial-7": 0.70, "head_only": 0.6, "lora_all": 0.85}
        verdict = confirm(study_of(TRIALS), accuracies, COSTS)
        assert verdict.model.key == "lora_all"
        # What the search found best is set against it, and said to be worse.
        found = {f.other.key: f.kind for f in verdict.findings}
        assert verdict.findings[0].model.key == "trial-5"
        assert found == {"lora_all": "worse", "head_only": "better"}

    def test_tf_idf_is_taken_where_it_does_as_well_since_it_costs_nothing(self):
        accuracies = {"trial-5": 0.8, "trial-7": 0.7, "lora_all": 0.8, "tfidf": 0.81}
        verdict = confirm(study_of(TRIALS), accuracies, COSTS)
        assert verdict.model.key == "tfidf"

    def test_a_difference_that_chance_could_make_is_said_to_be_noise(self):
        stored = study_of(TRIALS)
        put_confirmed(stored, {"trial-5": 0.80, "lora_all": 0.798}, n_rows=200)
        (finding,) = verdict_of(stored).findings
        assert finding.kind == "noise"
        assert finding.low.value < 0 < finding.high.value

    def test_full_fine_tuning_is_no_bargain(self):
        accuracies = {"trial-5": 0.80, "full_fine_tuning": 0.805}
        costs = {"trial-5": 0.35, "full_fine_tuning": 0.42}
        verdict = confirm(study_of(TRIALS), accuracies, costs)
        assert verdict.model.key == "trial-5"

    def test_of_equally_cheap_ones_the_smallest_is_taken(self):
        """LoRA is merged, and so costs what full fine-tuning costs; but it is far smaller."""
        accuracies = {"trial-5": 0.6, "lora_all": 0.800, "full_fine_tuning": 0.803}
        costs = {"trial-5": 0.35, "lora_all": 0.42, "full_fine_tuning": 0.42}
        verdict = confirm(study_of(TRIALS), accuracies, costs)
        assert verdict.model.key == "lora_all"


def test_the_cost_is_the_next_objective_that_is_minimised():
    models = gather(stored_study(), NAMES)
    assert cost_metric(models) == "inference_gflops"
