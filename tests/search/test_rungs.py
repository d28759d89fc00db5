"""What stands at a rung: each training once, under the trial that began it."""

import pytest

from search.lineage import lineage, resumed_as
from search.rung_values import rung_key, rungs_reached
from search.rungs import compared_by, decide, rung_of
from search.store import open_study
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.search.finished_study import trial_of
from tests.search.rung_cases import MAXIMIZE, MINIMIZE
from trainers.fit import EpochReport

BOTH = ("accuracy", "inference_gflops")
NAMED = {"inference_gflops": 1.0, "accuracy": 0.5, "validation_loss": 0.7}


def reached(accuracy):
    """What stands at a rung, more than is compared, in no order."""
    return {**NAMED, "accuracy": accuracy}


def trial(number, end="pruned", **attributes):
    return trial_of([0.5, 1.0], end=end, number=number, **attributes)


@pytest.mark.parametrize(
    ("level", "key"),
    [(0.25, "rung.0.25"), (0.5, "rung.0.5"), (1.0, "rung.1"), (1, "rung.1"), (27.0, "rung.27")],
)
def test_each_rung_has_a_key_of_its_own(level, key):
    assert rung_key(level) == key
    reached = {"accuracy": 1.0}
    assert rungs_reached({key: reached, "reason": "x"}) == {float(level): reached}


def test_rungs_are_given_in_their_order():
    reached = rungs_reached({"rung.10": {"a": 3}, "rung.0.5": {"a": 1}, "rung.2": {"a": 2}})
    assert list(reached.items()) == [(0.5, {"a": 1}), (2.0, {"a": 2}), (10.0, {"a": 3})]


def test_a_rung_of_an_earlier_version_does_not_say_what_its_numbers_are_of():
    """Such trials end as they did, and are compared with nobody."""
    trials = [trial(0, **{"rung.1": [0.5, 1.0]}), trial(1, **{"rung.1": NAMED})]
    assert rungs_reached(trials[0].user_attrs) == {}
    assert rung_of(trials, 1.0, BOTH) == {1: [0.5, 1.0]}


def test_repeats_and_what_is_run_again_stand_at_no_rung():
    trials = [
        trial(0, **{"rung.1": reached(0.5)}),
        trial(1, **{"rung.1": reached(0.6), "same_as": 0}),
        trial(2, end="interrupted", **{"rung.1": reached(0.7)}),
        trial(3, end="complete", **{"rung.1": reached(0.7), "retry_of": 2}),
        trial(4, end="failed", **{"rung.2": reached(0.9)}),
    ]
    assert rung_of(trials, 1.0, BOTH) == {0: [0.5, 1.0], 3: [0.7, 1.0]}


def test_a_training_that_was_taken_up_stands_under_the_trial_that_began_it():
    trials = [
        trial(0, **{"rung.1": reached(0.5)}),
        trial(1, **{"rung.2": reached(0.6), "resumes": 0}),
        trial(2, end="interrupted", **{"rung.4": reached(0.1), "resumes": 1}),
        trial(3, end="complete", **{"rung.4": reached(0.7), "resumes": 1}),
    ]
    assert lineage(trials, 3) == (0, 1, 3)
    assert [rung_of(trials, level, BOTH) for level in (1.0, 2.0, 4.0)] == [
        {0: [0.5, 1.0]},
        {0: [0.6, 1.0]},
        {0: [0.7, 1.0]},
    ]
    assert {stopped: later.number for stopped, later in resumed_as(trials).items()} == {0: 1, 1: 3}


class TestDecide:
    @pytest.fixture
    def study(self, context_of):
        """A context of two objectives and epochs, a rung within the first, and its trials."""
        context = context_of(
            pruning={"first_rung": 0.5, "reduction": 2, "min_peers": 1},
            budget={"trials": 5, "epochs": 2},
        )
        return context, open_study(context)

    def report(self, context, trial, epoch, accuracy, loss=None):
        """Report a validation; the loss follows the accuracy where it is not told."""
        loss = 1 - accuracy if loss is None else loss
        metrics = {"accuracy": accuracy, "macro_f1": 0.1, "validation_loss": loss}
        told = EpochReport(epoch=epoch, time_ms=0, metrics=metrics)
        costs = {"inference_gflops": 1.0, "adapter_mib": 2.0}
        return decide(context, trial, context.study.stopping, told, costs)

    def begun(self, stored, **attributes):
        trial = stored.ask()
        trial.set_user_attr("spec", AdapterSpec(depth=2).to_json())
        trial.set_user_attr("learning", vars(Learning(learning_rate=None, head_learning_rate=1.0)))
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        return trial

    def test_a_trial_is_compared_at_a_rung_within_an_epoch(self, study):
        context, stored = study
        first, second, third = (self.begun(stored) for _ in range(3))
        assert self.report(context, first, 0.5, 0.6) and self.report(context, second, 0.5, 0.5)
        assert not self.report(context, third, 0.5, 0.4)
        assert third.user_attrs["rung.0.5"] == {
            "accuracy": 0.4,
            "inference_gflops": 1.0,
            "validation_loss": 0.6,
        }
        reason = "behind 2 of 3 trials at this rung (front 3), after epoch 0.5"
        assert third.user_attrs["reason"] == reason

    def test_between_the_rungs_and_at_the_end_nothing_is_decided(self, study):
        context, stored = study
        first, second = self.begun(stored), self.begun(stored)
        for accuracy, trial in ((0.9, first), (0.1, second)):
            assert self.report(context, trial, 0.5, accuracy)
            assert self.report(context, trial, 0.75, accuracy)
            assert self.report(context, trial, 2.0, accuracy)
            assert set(rungs_reached(trial.user_attrs)) == {0.5, 1.0}

    @pytest.mark.parametrize(
        ("mark", "goes_on"),
        [
            ({"baseline": "head_only"}, True),
            ({"starting_point": "every_depth: 2"}, True),
            ({}, False),
        ],
    )
    def test_baselines_and_starting_points_are_compared_with_and_never_stopped(
        self, study, mark, goes_on
    ):
        context, stored = study
        first, second = self.begun(stored), self.begun(stored)
        kept = self.begun(stored, **mark)
        for trial in (first, second):
            self.report(context, trial, 0.5, 0.5)
        assert self.report(context, kept, 0.5, 0.1) == goes_on
        assert rung_of(stored.get_trials(), 0.5, BOTH)[2] == [0.1, 1.0]

    def test_of_equal_accuracies_the_loss_tells_who_goes_on(self, study):
        context, stored = study
        for loss, goes_on in ((0.5, True), (0.4, True), (0.6, False)):
            assert self.report(context, self.begun(stored), 0.5, 0.5, loss) == goes_on

    def test_the_most_accurate_goes_on_whatever_its_loss(self, study):
        context, stored = study
        for accuracy, loss in ((0.5, 0.5), (0.4, 0.4), (0.6, 0.9)):
            assert self.report(context, self.begun(stored), 0.5, accuracy, loss)

    def test_objectives_that_are_measured_after_training_are_left_out(self, context_of):
        objectives = [
            {"minimize": "latency_ms"},
            {"maximize": "accuracy"},
            {"minimize": "inference_gflops"},
        ]
        context = context_of(objectives=objectives, budget={"trials": 5, "epochs": 2})
        trial = self.begun(open_study(context))
        self.report(context, trial, 1, 0.5)
        assert trial.user_attrs["rung.1"] == {
            "accuracy": 0.5,
            "inference_gflops": 1.0,
            "validation_loss": 0.5,
        }


@pytest.mark.parametrize(
    ("objectives", "compared"),
    [
        (
            [{"minimize": "adapter_mib"}, {"maximize": "accuracy"}, {"minimize": "latency_ms"}],
            {"adapter_mib": MINIMIZE, "accuracy": MAXIMIZE, "validation_loss": MINIMIZE},
        ),
        (
            [{"minimize": "validation_loss"}, {"minimize": "inference_gflops"}],
            {"validation_loss": MINIMIZE, "inference_gflops": MINIMIZE},
        ),
    ],
)
def test_the_loss_stands_beside_the_objectives_once(context_of, objectives, compared):
    found = compared_by(context_of(objectives=objectives).study)
    assert list(found.items()) == list(compared.items())
