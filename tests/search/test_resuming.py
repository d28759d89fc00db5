"""A stopped trial that comes back: one training, however many trials it took."""

import pytest
from optuna.trial import TrialState

import search.trial
from search.checkpoints import checkpoint_of
from search.driver import Observer, run_study
from search.ending import n_trained
from search.front import pareto_front
from search.lineage import lineage, resumed_as
from search.pruners import PRUNERS
from search.store import open_study
from search.tables import counts

QUIET = Observer(tick=lambda *_: None, ended=lambda *_: None)
BUDGET = {"trials": 4, "epochs": 2}
SPACE = {
    "depth": [2],
    "insertion": ["all"],
    "roles": ["query"],
    "kinds": ["lora"],
    "rank": [2, 4],
    "pooling": ["mean"],
    "learning_rate": {"low": 1e-3, "high": 5e-3},
}


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


class StopsTheFirst:
    """Stops trial 0 at its rung until three trials have reached it."""

    patience = 1
    returns = True

    def __init__(self, **settings):
        pass

    def rungs(self, epochs):
        return (1.0,)

    def stops(self, number, rung, directions):
        assert number in rung and len(directions) == 3
        return "behind" if number == 0 and len(rung) < 3 else None

    def may_return(self, number, rung, directions, n_at_most):
        return self.returns


@pytest.fixture
def study_of(context_of, monkeypatch):
    """Return a function that opens a study whose first trial is stopped and comes back."""
    monkeypatch.setitem(PRUNERS, "pareto-halving", StopsTheFirst)

    def go(**changes):
        usual = {"budget": BUDGET, "space": SPACE, "sampler": "random"}
        usual |= {"baselines": [], "starting_points": []}  # which are never stopped
        context = context_of(**(usual | {"pruning": {"resume": True}} | changes))
        return context, open_study(context)

    return go


@pytest.fixture
def trained(monkeypatch):
    """Note what every training began from and how far it came; may end the process before one."""
    real, log = search.trial.train_structure, []

    def train(*arguments, report, **named):
        if len(log) == train.killed_at:
            train.killed_at = None
            raise Killed
        epochs = []
        log.append((named["resume"], epochs))
        return real(*arguments, report=lambda e: (epochs.append(e.epoch), report(e))[1], **named)

    train.killed_at, train.log = None, log
    monkeypatch.setattr(search.trial, "train_structure", train)
    return train


def own(stored):
    """The trials that repeat no other."""
    return [trial for trial in stored.get_trials() if "same_as" not in trial.user_attrs]


def states(trials):
    return [(t.user_attrs["end"], t.user_attrs.get("resumes")) for t in trials]


class TestComingBack:
    @pytest.fixture
    def finished(self, study_of, trained):
        context, stored = study_of()
        run_study(context, stored, QUIET)
        return context, stored, own(stored)

    def test_it_is_trained_on_from_where_it_was_stopped(self, finished, trained):
        _, _, trials = finished
        assert states(trials) == [
            ("pruned", None),
            ("complete", None),
            ("complete", None),
            ("complete", 0),
            ("complete", None),
        ]
        assert trials[3].params == trials[0].params
        assert [epochs for _, epochs in trained.log] == [[1], [1, 2], [1, 2], [2], [1, 2]]
        assert [path is not None for path, _ in trained.log] == [False, False, False, True, False]

    def test_it_counts_once_and_stands_once_on_the_front(self, finished):
        _, stored, trials = finished
        assert n_trained(trials) == BUDGET["trials"]
        assert trials[0].state == TrialState.PRUNED and trials[0].values is None
        assert 0 not in [trial.number for trial in pareto_front(trials, stored.directions)]
        numbers = counts(stored)
        assert (numbers["trained"], numbers["complete"]) == (4, 4)
        assert (numbers["pruned"], numbers["resumed"]) == (0, 1)

    def test_its_history_and_its_time_are_those_of_both(self, finished):
        _, _, trials = finished
        stopped, resumed = trials[0].user_attrs, trials[3].user_attrs
        assert resumed["history"][0] == stopped["history"][0]
        assert [epoch["epoch"] for epoch in resumed["history"]] == [1, 2]
        assert "rung.1" in stopped and "rung.1" not in resumed
        assert resumed["metrics"]["train_s"] > stopped["metrics"]["train_s"]

    def test_it_ends_as_if_it_had_never_been_stopped(self, finished, study_of, monkeypatch):
        _, _, trials = finished
        monkeypatch.setitem(PRUNERS, "pareto-halving", lambda **_: PRUNERS["none"]())
        context, stored = study_of(storage="sqlite:///other.db", artifacts="other")
        stored.enqueue_trial(trials[0].params)
        run_study(context, stored, QUIET)
        assert stored.get_trials()[0].values == trials[3].values

    def test_no_state_is_left_when_the_study_is_over(self, finished):
        context, *_ = finished
        assert not checkpoint_of(context, 0).parent.exists()

    def test_the_same_command_again_does_nothing(self, finished):
        context, stored, trials = finished
        run_study(context, stored, QUIET)
        assert own(stored) == trials

    def test_an_equal_trial_has_the_result_of_the_later_one(self, finished, study_of):
        _, stored, trials = finished
        stored.enqueue_trial(trials[0].params)
        context, stored = study_of(budget=BUDGET | {"trials": 5})
        run_study(context, stored, QUIET)
        equal = next(t for t in stored.get_trials() if t.number > trials[-1].number)
        assert equal.params == trials[0].params
        assert equal.user_attrs["same_as"] == trials[3].number


def test_without_the_option_a_stopped_trial_stays_stopped(study_of, trained):
    context, stored = study_of(pruning={"resume": False})
    run_study(context, stored, QUIET)
    assert [end for end, _ in states(own(stored))] == ["pruned"] + ["complete"] * 3
    assert not checkpoint_of(context, 0).parent.exists()


def test_what_came_back_when_the_budget_is_spent_is_still_trained_to_its_end(study_of):
    context, stored = study_of(budget={"trials": 3, "epochs": 2})
    run_study(context, stored, QUIET)
    assert states(own(stored))[3] == ("complete", 0)


class TestStates:
    def test_one_that_cannot_be_needed_any_more_is_removed(self, study_of, monkeypatch):
        monkeypatch.setattr(StopsTheFirst, "returns", False)
        context, stored = study_of()
        seen = []

        def ended(*_):
            seen.append(checkpoint_of(context, 0).exists())

        run_study(context, stored, Observer(tick=lambda *_: None, ended=ended))
        assert seen[0] and not any(seen[1:])  # swept after the first trial had ended
        assert states(own(stored))[0] == ("pruned", None)

    @pytest.mark.parametrize("harm", [lambda p: p.unlink(), lambda p: p.write_bytes(b"\x00" * 9)])
    def test_a_trial_whose_state_is_gone_or_spoilt_does_not_come_back(self, study_of, harm):
        context, stored = study_of()

        def ended(_, number, end):
            if checkpoint_of(context, 0).exists():
                harm(checkpoint_of(context, 0))

        run_study(context, stored, Observer(tick=lambda *_: None, ended=ended))
        assert states(own(stored)) == [("pruned", None)] + [("complete", None)] * 3


class TestKill:
    def test_in_a_resumed_trial_it_is_taken_up_again(self, study_of, trained):
        context, stored = study_of()
        trained.killed_at = 3
        with pytest.raises(Killed):
            run_study(context, stored, QUIET)
        assert checkpoint_of(context, 0).exists()
        run_study(context, stored, QUIET)
        trials = own(stored)
        assert states(trials)[3:] == [("interrupted", 0), ("complete", 0), ("complete", None)]
        assert trials[4].user_attrs["retry_of"] == trials[3].number
        assert [epochs for _, epochs in trained.log][3] == [2]
        assert n_trained(trials) == 4 and lineage(stored.get_trials(), trials[4].number) == (
            0,
            trials[4].number,
        )
        assert {stopped: later.number for stopped, later in resumed_as(trials).items()} == {
            0: trials[4].number
        }

    def test_between_the_state_and_the_end_of_a_trial_it_begins_anew(
        self, study_of, trained, monkeypatch
    ):
        context, stored = study_of()

        def killed(*_):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(search.trial, "finish", killed)
            with pytest.raises(Killed):
                run_study(context, stored, QUIET)
        assert checkpoint_of(context, 0).exists()
        monkeypatch.setattr(StopsTheFirst, "stops", lambda *_: None)
        run_study(context, stored, QUIET)
        trials = own(stored)
        assert states(trials) == [("interrupted", None)] + [("complete", None)] * 4
        assert trials[1].user_attrs["retry_of"] == 0 and trained.log[1] == (None, [1, 2])

    def test_before_it_is_asked_for_it_is_asked_for_once(self, study_of, trained, monkeypatch):
        context, stored = study_of()

        def ask(*_, **__):
            if any("resumes" in trial.user_attrs for trial in stored.get_trials()):
                raise Killed
            return real()

        real = stored.ask
        with monkeypatch.context() as patch:
            patch.setattr(stored, "ask", ask)
            with pytest.raises(Killed):
                run_study(context, stored, QUIET)
        run_study(context, stored, QUIET)
        assert states(own(stored))[3:] == [("complete", 0), ("complete", None)]
