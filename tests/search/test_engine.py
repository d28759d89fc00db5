"""The loop of a study with several workers, and with workers that die."""

import optuna
import pytest
from optuna.trial import TrialState

from search.checkpoints import checkpoint_of
from search.driver import Observer, run_study
from search.ending import n_trained
from search.front import pareto_front
from search.job import Failure
from search.retries import DIED, MAX_RETRIES, recover
from search.store import open_study
from search.workers import Lost
from tests.search.scripted_workers import ScriptedWorkers, dies_after

QUIET = Observer(tick=lambda *_: None, ended=lambda *_: None)
LOST = Lost(reason="its worker died")
SPACE = {"depth": [1, 2], "rank": [2, 4, 8]}


@pytest.fixture
def run(context_of):
    """Return a function that runs a study with scripted workers; its trials and the workers."""

    def go(faults=None, n_workers=2, late=False, observer=QUIET, **changes):
        usual = {"space": SPACE, "pruner": "none", "budget": {"trials": 5, "epochs": 1}}
        context = context_of(**(usual | changes))
        stored = open_study(context)
        workers = ScriptedWorkers(context, n_workers, faults, late)
        run_study(context, stored, observer, workers)
        return stored.get_trials(), workers

    return go


def ends(trials):
    return [trial.user_attrs.get("end") for trial in trials]


def trained(trials):
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


class TestSideBySide:
    def test_all_workers_have_something_to_do_and_the_budget_is_kept(self, run):
        trials, workers = run(n_workers=3)
        assert workers.most == 3
        assert ends(trials) == ["complete"] * 5 and n_trained(trials) == 5
        assert [job.number for job in workers.given] == [0, 1, 2, 3, 4]
        assert trials[0].user_attrs["baseline"] == "head_only"

    def test_one_worker_gives_the_very_trials_of_this_process(self, run, context_of):
        trials, _ = run(n_workers=1)
        context = context_of(
            space=SPACE,
            pruner="none",
            storage="sqlite:///alone.db",
            artifacts="alone",
            budget={"trials": 5, "epochs": 1},
        )
        stored = open_study(context)
        run_study(context, stored, QUIET)
        alone = stored.get_trials()
        assert [(t.params, t.values) for t in alone] == [(t.params, t.values) for t in trials]

    def test_no_more_begin_than_the_budget_has_left(self, run):
        _, workers = run(n_workers=4, budget={"trials": 2, "epochs": 1})
        assert workers.most == 2 and len(workers.given) == 2

    def test_an_equal_trial_waits_for_the_one_that_is_running(self, run, context_of):
        space = {
            "depth": [1, 2],
            "insertion": ["last"],
            "roles": ["query"],
            "kinds": ["lora"],
            "rank": [2],
            "pooling": ["mean"],
            "learning_rate": 1e-3,
        }
        params = {"depth": 1, "query_kind": "lora"}
        changes = {"space": space, "baselines": [], "budget": {"trials": 2, "epochs": 1}}
        stored = open_study(context_of(pruner="none", **changes))
        for _ in range(2):
            stored.enqueue_trial(params)
        trials, workers = run(**changes)
        assert trials[1].user_attrs["same_as"] == 0 and trials[1].values == trials[0].values
        specs = [job.spec.to_json() for job in workers.given]
        assert len(set(specs)) == len(specs) == 2


class TestLostWorkers:
    def test_a_trial_is_marked_with_the_reason_and_run_again(self, run):
        trials, workers = run({3: LOST})
        cut = trials[3]
        assert cut.state == TrialState.FAIL and cut.values is None
        assert (cut.user_attrs["end"], cut.user_attrs["reason"]) == ("interrupted", LOST.reason)
        (again,) = [t for t in trials if t.user_attrs.get("retry_of") == 3]
        assert again.params == cut.params and again.state == TrialState.COMPLETE
        assert (again.user_attrs["losses"], cut.user_attrs["losses"]) == (1, 1)
        assert n_trained(trials) == len(trained(trials)) == 5
        assert len(workers.given) == 6

    def test_a_baseline_too(self, run):
        trials, _ = run({0: LOST})
        names = [(t.user_attrs.get("baseline"), t.user_attrs["end"]) for t in trials]
        assert names.count(("head_only", "interrupted")) == 1
        (again,) = [t for t in trials if t.user_attrs.get("retry_of") == 0]
        assert again.user_attrs["baseline"] == "head_only"
        assert again.user_attrs["end"] == "complete"

    def test_the_third_time_it_counts_as_failed_and_is_not_run_again(self, run):
        faults = dict.fromkeys((0, 1, 2), LOST)
        trials, _ = run(faults, n_workers=1, budget={"trials": 3, "epochs": 1})
        of_head = [t for t in trials if t.user_attrs.get("baseline") == "head_only"]
        assert ends(of_head) == ["interrupted"] * MAX_RETRIES + ["failed"]
        assert of_head[-1].user_attrs["reason"] == "its worker died, 3 times; it is not run again"
        assert n_trained(trials) == 3 and len(trained(trials)) == 2

    def test_it_goes_on_from_its_last_checkpoint(self, run, context_of):
        budget = {"trials": 2, "epochs": 3}
        context = context_of(space=SPACE, pruner="none", budget=budget)
        fault = dies_after(n_reports=2)
        faults = {1: lambda job, listener: fault(job, listener, context)}
        trials, workers = run(faults, n_workers=1, budget=budget)
        whole, _ = run(storage="sqlite:///b.db", artifacts="b", n_workers=1, budget=budget)
        assert workers.given[2].resume == checkpoint_of(context, 1)
        cut, again = trials[1], trials[2]
        assert again.user_attrs["retry_of"] == 1 and cut.user_attrs["baseline"] == "lora_all"
        assert again.values == whole[1].values
        assert [epoch["epoch"] for epoch in again.user_attrs["history"]] == [1, 2, 3]
        assert not checkpoint_of(context, 1).parent.exists()  # the study is over

    def test_the_rungs_that_it_reached_count_for_the_one_that_goes_on(self, run, context_of):
        changes = {
            "budget": {"trials": 2, "epochs": 3},
            "pruner": "pareto-halving",
            "pruning": {"reduction": 2},
        }
        context = context_of(space=SPACE, **changes)
        fault = dies_after(n_reports=1)
        faults = {1: lambda job, listener: fault(job, listener, context)}
        trials, workers = run(faults, n_workers=1, **changes)
        assert trials[2].user_attrs["rung.1"] == trials[1].user_attrs["rung.1"]
        assert workers.given[2].resume is not None and "rung.2" in trials[2].user_attrs
        assert "rung.2" not in trials[1].user_attrs

    def test_a_late_result_is_dropped(self, run):
        trials, workers = run({3: LOST}, late=True)
        assert not workers.behind
        cut = trials[3]
        assert cut.state == TrialState.FAIL and "metrics" not in cut.user_attrs
        assert len(trained(trials)) == n_trained(trials) == 5
        stored = optuna.create_study(directions=["maximize", "minimize"])
        assert 3 not in [trial.number for trial in pareto_front(trials, stored.directions)]

    def test_a_late_result_of_a_trial_that_another_driver_gave_up_is_dropped(self, run, context_of):
        def given_up(job, listener):
            context = context_of(space=SPACE, pruner="none", budget={"trials": 5, "epochs": 1})
            stored = open_study(context)
            (running,) = stored.get_trials(states=(TrialState.RUNNING,))
            assert running.number == job.number
            recover(context, stored)

        trials, _ = run({3: given_up}, n_workers=1)
        assert trials[3].user_attrs["end"] == "interrupted" and trials[3].values is None
        assert trials[3].user_attrs["reason"] == DIED and "metrics" not in trials[3].user_attrs
        assert trials[4].user_attrs["retry_of"] == 3 and trials[4].values is not None
        assert n_trained(trials) == 5


class TestKilledDriver:
    def test_a_structure_that_kills_the_process_is_not_run_again_for_ever(self, context_of):
        context = context_of(space=SPACE, baselines=[], budget={"trials": 1, "epochs": 1})
        stored = open_study(context)
        trial = stored.ask()
        context.space.sample(trial)
        recover(context, stored)
        for _ in range(MAX_RETRIES):
            stored.ask()
            recover(context, stored)
        trials = stored.get_trials()
        assert ends(trials) == ["interrupted"] * MAX_RETRIES + ["failed"]
        assert trials[-1].user_attrs["reason"] == f"{DIED}, 3 times; it is not run again"
        assert all(trial.state == TrialState.FAIL for trial in trials)


class TestMemory:
    def test_what_is_larger_than_a_trial_without_memory_is_not_trained(self, run):
        space = SPACE | {"kinds": ["lora"], "roles": ["query"], "insertion": ["all"], "depth": [2]}
        none_left = Failure(reason="no memory left", out_of_memory=True)
        trials, workers = run(
            {0: none_left},
            n_workers=1,
            space=space | {"pooling": ["mean"], "learning_rate": 1e-3},
            baselines=["lora_all", "bottleneck_all", "head_only"],
            budget={"trials": 3, "epochs": 1},
        )
        assert trials[0].user_attrs["end"] == "failed" and trials[0].user_attrs["out_of_memory"]
        barred = [t for t in trials if "needs at least as much" in t.user_attrs.get("reason", "")]
        assert [t.user_attrs["end"] for t in barred] == ["infeasible"] * len(barred)
        assert "bottleneck_all" in [t.user_attrs.get("baseline") for t in barred]
        assert all("history" not in t.user_attrs for t in barred)
        assert not {t.number for t in barred} & {job.number for job in workers.given}
        (head,) = [t for t in trials if t.user_attrs.get("baseline") == "head_only"]
        assert head.user_attrs["end"] == "complete"


def test_a_fault_of_ours_ends_the_study_and_puts_the_others_in_line(run, context_of):
    with pytest.raises(RuntimeError, match="a bug"):
        run({2: RuntimeError("a bug")}, n_workers=3)
    trials, _ = run()
    assert trials[2].user_attrs["reason"] == "RuntimeError: a bug"
    assert trials[2].user_attrs["end"] == "failed"
    cut = [t for t in trials if t.user_attrs["end"] == "interrupted"]
    assert cut and all("losses" not in t.user_attrs for t in cut)
    assert n_trained(trials) == 5
