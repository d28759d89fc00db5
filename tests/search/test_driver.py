"""The loop of a study on a tiny backbone: what is trained, what is counted, what is kept."""

import os
import signal
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import optuna
import pytest
import time_machine
from optuna.trial import TrialState

import search.training
from search.checkpoints import checkpoint_of
from search.driver import Interrupted, Observer, run_study
from search.ending import n_trained
from search.front import pareto_front
from search.moments import begin_of, end_of
from search.proposals import next_trial
from search.pruners import PRUNERS
from search.retries import STOPPED, give_up, recover
from search.samplers import make_sampler
from search.store import open_study
from search.trial import begin, end, work
from space.errors import TrialError

QUIET = Observer(tick=lambda *_: None, ended=lambda *_: None)
FOUR_STRUCTURES = {
    "depth": [1, 2],
    "insertion": ["last"],
    "roles": ["query"],
    "kinds": ["lora"],
    "rank": [2],
    "pooling": ["mean"],
    "learning_rate": 1e-3,
}


@pytest.fixture
def run(context_of):
    """Return a function that runs a study; its trials and why it ended."""

    def go(*overrides, observer=QUIET, **changes):
        context = context_of(*overrides, **changes)
        stored = open_study(context)
        why = run_study(context, stored, observer)
        return stored.get_trials(), why

    return go


@pytest.fixture
def fitted(monkeypatch):
    """Count the trainings, and let chosen ones raise: {number of the training: error}."""
    real = search.training.fit

    @dataclass
    class Fitted:
        n: int = 0

    count, faults = Fitted(), {}

    def fit(*arguments, **named):
        count.n += 1
        if count.n in faults:
            raise faults[count.n]
        return real(*arguments, **named)

    monkeypatch.setattr(search.training, "fit", fit)
    count.faults = faults
    return count


def ends(trials):
    return [trial.user_attrs.get("end") for trial in trials]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


class TestBudget:
    def test_the_baselines_come_first_and_carry_their_names(self, run):
        trials, why = run()
        names = [trial.user_attrs.get("baseline") for trial in trials]
        assert names == ["head_only", "lora_all", "bottleneck_all", None, None]
        assert ends(trials) == ["complete"] * 5
        assert why == "all 5 trials of the budget are trained"

    def test_only_the_baselines_asked_for_are_trained(self, run):
        trials, _ = run(baselines=["lora_all"], budget={"trials": 2, "epochs": 1})
        assert [trial.user_attrs.get("baseline") for trial in trials] == ["lora_all", None]

    def test_a_baseline_inside_the_space_has_its_parameters(self, run):
        trials, _ = run(budget={"trials": 2, "epochs": 1}, space={"depth": [1, 2]})
        assert trials[0].params["depth"] == 2 and trials[0].params["query_kind"] == "off"
        assert trials[1].params["query_kind"] == trials[1].params["value_kind"] == "lora"

    def test_it_goes_on_where_it_was_and_does_nothing_when_all_is_done(self, run, fitted):
        run(budget={"trials": 3, "epochs": 1})
        first, _ = run(budget={"trials": 4, "epochs": 1})
        again, why = run(budget={"trials": 4, "epochs": 1})
        assert again == first and fitted.n == 4
        assert why == "all 4 trials of the budget are trained"

    def test_the_same_study_gives_the_same_values(self, run, tmp_path):
        first, _ = run()
        again, _ = run(storage="sqlite:///again.db", artifacts="again")
        assert [(t.params, t.values) for t in again] == [(t.params, t.values) for t in first]

    def test_the_minutes_end_it_between_two_trials(self, run):
        trials, why = run(budget={"trials": 9, "epochs": 1, "minutes": 1e-6})
        assert trials == [] and why == "the 1e-06 minutes of the budget are spent"

    def test_every_trial_keeps_its_weights(self, run, tmp_path):
        run(budget={"trials": 2, "epochs": 1})
        files = sorted((tmp_path / "paradapt-artifacts/topics").glob("*/*"))
        assert [file.parent.name for file in files] == ["trial-00000", "trial-00001"]


class TestEqualSpecs:
    def test_are_trained_once_and_a_space_without_more_ends_the_study(
        self, run, fitted, monkeypatch
    ):
        monkeypatch.setattr("search.driver.MAX_UNTRAINED", 12)
        trials, why = run(space=FOUR_STRUCTURES, budget={"trials": 50, "epochs": 1})
        assert "the last 12 structures proposed were known already or out of bounds" in why
        own = [trial for trial in trials if "same_as" not in trial.user_attrs]
        # Four structures, of which one is a baseline, and two baselines outside the space.
        assert len(own) == len({trial.user_attrs["spec"] for trial in own}) == fitted.n == 6
        assert len(trials) - len(own) >= 12
        for trial in trials[-12:]:
            twin = trials[trial.user_attrs["same_as"]]
            assert twin.number < trial.number
            assert trial.user_attrs["spec"] == twin.user_attrs["spec"]
            assert trial.values == twin.values and trial.state == TrialState.COMPLETE

    def test_after_five_in_a_row_chance_proposes_until_one_is_new(self, run, monkeypatch):
        monkeypatch.setattr("search.driver.MAX_UNTRAINED", 12)
        asked = []

        def made(name, seed, number):
            asked.append((number, name))
            return make_sampler(name, seed, number)

        monkeypatch.setattr("search.proposals.make_sampler", made)
        trials, _ = run(space=FOUR_STRUCTURES, budget={"trials": 50, "epochs": 1})
        known = ["same_as" in trial.user_attrs for trial in trials]
        assert asked[: len(trials)] == [
            (number, "random" if number >= 5 and all(known[number - 5 : number]) else "tpe")
            for number in range(len(trials))
        ]
        assert {name for _, name in asked} == {"random", "tpe"}

    def test_do_not_count_and_are_not_on_the_front(self, run, monkeypatch):
        monkeypatch.setattr("search.driver.MAX_UNTRAINED", 3)
        trials, _ = run(space=FOUR_STRUCTURES, budget={"trials": 50, "epochs": 1})
        stored = optuna.create_study(directions=["maximize", "minimize"])
        front = pareto_front(trials, stored.directions)
        assert all("same_as" not in trial.user_attrs for trial in front)


class TestConstraints:
    def test_a_known_bound_that_is_broken_costs_no_training(self, run, fitted):
        trials, _ = run(constraints=[{"trainable_params": {"max": 600}}])
        count = Counter(ends(t for t in trials if "same_as" not in t.user_attrs))
        assert count["infeasible"] >= 2 and count["complete"] == fitted.n == 5
        for trial in trials:
            n_params = trial.user_attrs["metrics"]["trainable_params"]
            assert trial.constraints["trainable_params <= 600"] == n_params - 600
            assert trial.user_attrs["end"] == ("infeasible" if n_params > 600 else "complete")
            if n_params > 600:
                assert trial.state == TrialState.PRUNED and "history" not in trial.user_attrs
                assert "trainable_params <= 600 is broken: it is" in trial.user_attrs["reason"]

    def test_a_bound_on_what_is_measured_is_checked_after_training(self, run, fitted):
        trials, _ = run(constraints=[{"accuracy": {"min": 1.5}}], budget={"trials": 3, "epochs": 1})
        assert ends(trials) == ["infeasible"] * 3 and fitted.n == 3
        for trial in trials:
            assert trial.state == TrialState.COMPLETE and trial.values is not None
            assert trial.constraints["accuracy >= 1.5"] == 1.5 - trial.values[0]
            assert trial.user_attrs["reason"].startswith("accuracy >= 1.5 is broken: it is 0")
        stored = optuna.create_study(directions=["maximize", "minimize"])
        assert pareto_front(trials, stored.directions) == []


class TestPruning:
    class StopsAll:
        patience = 1

        def __init__(self, **settings):
            pass

        def rungs(self, epochs):
            return (1.0,) if epochs > 1 else ()

        def stops(self, number, rung, directions):
            assert number in rung
            return f"stopped among {len(rung)}"

    def test_a_pruned_trial_keeps_what_it_reached_and_given_ones_are_spared(self, run, monkeypatch):
        monkeypatch.setitem(PRUNERS, "pareto-halving", self.StopsAll)
        trials, _ = run(budget={"trials": 6, "epochs": 3})
        assert ends(trials) == ["complete"] * 4 + ["pruned"] * 2
        assert trials[3].user_attrs["starting_point"] == "every_depth: 2"
        for trial in trials[4:]:
            attributes = trial.user_attrs
            assert trial.state == TrialState.PRUNED and trial.values is None
            assert attributes["reason"] == f"stopped among {trial.number + 1}, after epoch 1"
            assert len(attributes["history"]) == 1
            assert attributes["rung.1"].items() <= attributes["metrics"].items()
            assert set(attributes["rung.1"]) == {"accuracy", "inference_gflops", "validation_loss"}
        assert all(len(trial.user_attrs["history"]) == 3 for trial in trials[:4])

    def test_a_rung_may_lie_within_an_epoch(self, run):
        budget = {"trials": 1, "epochs": 1}
        ((trial,), _) = run(budget=budget, pruning={"first_rung": 0.5, "reduction": 4})
        half, whole = trial.user_attrs["history"]
        assert (half["epoch"], whole["epoch"]) == (0.5, 1)
        assert trial.user_attrs["rung.0.5"]["accuracy"] == half["accuracy"]

    def test_objectives_that_are_measured_after_training_are_left_out(self, run):
        trials, _ = run(
            budget={"trials": 1, "epochs": 2},
            objectives=[{"maximize": "accuracy"}, {"minimize": "latency_ms"}],
        )
        assert set(trials[0].user_attrs["rung.1"]) == {"accuracy", "validation_loss"}
        assert len(trials[0].values) == 2


class TestFailure:
    def test_a_loss_that_is_not_finite_fails_the_trial_and_the_study_goes_on(self, run):
        trials, _ = run(space={"learning_rate": 1e30}, baselines=["lora_all", "head_only"])
        failed = [trial for trial in trials if trial.user_attrs["end"] == "failed"]
        assert trials[0] in failed and trials[1] not in failed
        assert len(trials) == 5
        for trial in failed:
            assert trial.state == TrialState.FAIL
            assert "the learning rate was 1e+30" in trial.user_attrs["reason"]
            assert trial.user_attrs["metrics"]["inference_gflops"] > 0

    def test_a_failed_trial_counts_and_is_no_twin(self, run, fitted):
        fitted.faults[1] = TrialError("no memory left")
        trials, _ = run(budget={"trials": 2, "epochs": 1})
        assert ends(trials) == ["failed", "complete"]
        assert trials[0].user_attrs["reason"] == "no memory left"

    def test_an_error_of_ours_is_raised_marks_the_trial_and_bars_nothing(self, run, fitted):
        fitted.faults[4] = RuntimeError("a bug")
        with pytest.raises(RuntimeError, match="a bug"):
            run()
        trials, _ = run()
        assert ends(trials) == ["complete", "complete", "complete", "failed", "complete"]
        assert trials[3].user_attrs["reason"] == "RuntimeError: a bug"
        assert trials[3].state == TrialState.FAIL

    def test_a_full_disk_is_no_fault_of_the_structure(self, run, fitted):
        fitted.faults[4] = OSError("no space left on device")
        with pytest.raises(OSError, match="no space left"):
            run()
        trials, _ = run()
        assert ends(trials) == ["complete"] * 3 + ["interrupted"] + ["complete"] * 2
        assert trials[4].params == trials[3].params


class TestInterruption:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_puts_the_trial_in_line_and_it_is_run_again(self, run, number):
        before = signal.getsignal(number)

        def tick(trial, n_done, n_steps):
            if trial == 3:
                signal.raise_signal(number)

        with pytest.raises(Interrupted):
            run(observer=Observer(tick=tick, ended=lambda *_: None))
        assert signal.getsignal(number) == before
        trials, _ = run()
        assert ends(trials) == ["complete"] * 3 + ["interrupted"] + ["complete"] * 2
        cut, again = trials[3], trials[4]
        assert cut.state == TrialState.FAIL
        assert again.user_attrs["retry_of"] == 3
        assert again.params == cut.params
        assert again.user_attrs["spec"] == cut.user_attrs["spec"]

    def test_a_baseline_that_is_cut_off_is_begun_again_once(self, run):
        def tick(trial, n_done, n_steps):
            if trial == 1:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(Interrupted):
            run(observer=Observer(tick=tick, ended=lambda *_: None))
        trials, _ = run(budget={"trials": 4, "epochs": 1})
        assert [(t.user_attrs.get("baseline"), t.user_attrs["end"]) for t in trials] == [
            ("head_only", "complete"),
            ("lora_all", "interrupted"),
            ("lora_all", "complete"),
            ("bottleneck_all", "complete"),
            (None, "complete"),
        ]

    def test_a_trial_killed_after_its_ask_is_put_in_line(self, run, context_of):
        run(budget={"trials": 3, "epochs": 1})
        context = context_of()
        stored = open_study(context)
        trial, _ = next_trial(context, stored, lambda *_: None)
        context.space.sample(trial)
        recover(context, stored)
        trials, _ = run()
        assert ends(trials) == ["complete"] * 3 + ["interrupted"] + ["complete"] * 2
        assert trials[4].params == trials[3].params

    @pytest.mark.parametrize("kept_s", [0, 90])
    def test_the_pause_after_a_kill_is_no_time_of_the_trial(self, run, context_of, kept_s):
        run(budget={"trials": 3, "epochs": 1})
        context = context_of()
        stored = open_study(context)
        trial, _ = next_trial(context, stored, lambda *_: None)
        context.space.sample(trial)
        begin = begin_of(stored.get_trials()[3])
        if kept_s:
            state = checkpoint_of(context, trial.number)
            state.parent.mkdir(parents=True)
            state.touch()
            os.utime(state, (begin.timestamp() + kept_s,) * 2)
        with time_machine.travel(datetime.now(UTC) + timedelta(days=3)):
            recover(context, stored)
        killed = stored.get_trials()[3]
        assert killed.datetime_complete - begin > timedelta(days=2)
        assert end_of(killed) - begin == timedelta(seconds=kept_s)

    def test_a_trial_that_is_given_up_in_sight_ends_when_it_is(self, run, context_of):
        run(budget={"trials": 3, "epochs": 1})
        context = context_of()
        stored = open_study(context)
        trial, _ = next_trial(context, stored, lambda *_: None)
        context.space.sample(trial)
        give_up(context, stored, stored.get_trials(), STOPPED)
        stopped = stored.get_trials()[3]
        assert stopped.user_attrs["end"] == "interrupted"
        assert end_of(stopped) == stopped.datetime_complete

    @pytest.mark.parametrize("end", ["complete", "pruned", "failed", "infeasible", "equal"])
    def test_a_trial_killed_between_its_end_and_its_telling_is_told(
        self, context_of, run, fitted, monkeypatch, end
    ):
        changes = {}
        if end == "pruned":
            monkeypatch.setitem(PRUNERS, "pareto-halving", TestPruning.StopsAll)
            changes |= {"budget": {"trials": 5, "epochs": 2}, "starting_points": []}
        if end == "failed":
            fitted.faults[4] = TrialError("no memory left")
        if end == "infeasible":
            changes["constraints"] = [{"accuracy": {"min": 1.5}}]
        if end == "equal":
            changes["space"] = FOUR_STRUCTURES | {"depth": [2], "roles": ["query"]}
        trials, _ = run(
            **(changes | {"budget": {**changes.get("budget", {"epochs": 1}), "trials": 3}})
        )
        context = context_of(**changes)
        stored = open_study(context)
        if end == "equal":
            stored.enqueue_trial(trials[0].params)

        def killed(*_, **__):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(optuna.study.Study, "tell", killed)
            with pytest.raises(Killed):
                run_study(context, stored, QUIET)
        assert stored.get_trials()[3].state == TrialState.RUNNING
        n_fitted = fitted.n

        recover(context, stored)
        trial = stored.get_trials()[3]
        assert fitted.n == n_fitted and len(stored.get_trials()) == 4
        metrics = trial.user_attrs["metrics"]
        values = [metrics["accuracy"], metrics["inference_gflops"]] if end != "failed" else None
        assert (trial.user_attrs["end"], trial.state, trial.values) == {
            "complete": ("complete", TrialState.COMPLETE, values),
            "pruned": ("pruned", TrialState.PRUNED, None),
            "failed": ("failed", TrialState.FAIL, None),
            "infeasible": ("infeasible", TrialState.COMPLETE, values),
            "equal": ("complete", TrialState.COMPLETE, values),
        }[end]
        assert ("same_as" in trial.user_attrs) == (end == "equal")


def test_one_trial_by_hand_is_what_the_loop_does(context_of):
    context = context_of()
    stored = open_study(context)
    trial, planned = next_trial(context, stored, lambda *_: None)
    job = begin(context, trial, planned)
    outcome = work(context, job, report=lambda _: True, tick=lambda *_: None)
    assert end(context, trial, job, outcome).kind == "complete"
    assert n_trained(stored.get_trials()) == 1
    assert stored.get_trials()[0].user_attrs["baseline"] == "head_only"
