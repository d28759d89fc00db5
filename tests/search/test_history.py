"""A long study is sampled from a window: quickly, and a short one as ever."""

import time

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search import history
from search.history import MAX_MODELLED, notices, window_of
from search.samplers import make_sampler
from tests.search.test_samplers import SPACE, go_on, new_study

N_LONG = 2000
MAX_ASK_S = 0.5
"""5 % of a trial of 10 seconds."""


@pytest.fixture(scope="module")
def long_study():
    """Of 2,000 ended trials, sampled at random; the best ones are among the first."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(N_LONG):
        trial = drawn.ask()
        spec, _ = SPACE.sample(trial)
        values = [1 / (1 + number), spec.depth + (0 if number < 20 else 1)]
        ended = TrialState.PRUNED if number % 3 == 2 else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=ended,
                values=None if ended == TrialState.PRUNED else values,
                params=trial.params,
                distributions=trial.distributions,
            )
        )
    return study


def test_the_window_holds_the_front_what_runs_and_the_latest(long_study):
    study = optuna.create_study(directions=long_study.directions)
    study._storage = long_study._storage
    study._study_id = long_study._study_id
    trials = [*long_study.get_trials(deepcopy=False)]
    running = create_trial(state=TrialState.RUNNING)
    running.number = -1
    window = window_of([running, *trials], study.directions)
    assert len(window) == 1 + MAX_MODELLED
    assert window[0] is running
    front = {trial.number for trial in long_study.best_trials}
    numbers = [trial.number for trial in window]
    assert front and max(front) < 20 and front <= set(numbers)
    latest = [number for number in numbers if number not in front and number >= 0]
    assert latest == list(range(N_LONG - len(latest), N_LONG))
    assert numbers == sorted(numbers)


def test_a_short_study_is_seen_whole(long_study):
    trials = long_study.get_trials(deepcopy=False)[:MAX_MODELLED]
    assert window_of(trials, long_study.directions) == trials


def test_a_proposal_of_a_long_study_takes_a_fraction_of_a_second(long_study):
    long_study.sampler = make_sampler("tpe", 0, N_LONG)
    began = time.process_time()
    trial = long_study.ask()
    SPACE.sample(trial)
    took = time.process_time() - began
    long_study.tell(trial, state=TrialState.FAIL)
    assert took < MAX_ASK_S


def test_a_study_within_the_window_gets_the_trials_that_optunas_tpe_gives(monkeypatch):
    windowed = go_on(new_study(), "tpe", 3, 14)
    plain = optuna.samplers.TPESampler
    monkeypatch.setattr("search.samplers.WindowedTPESampler", plain)
    assert go_on(new_study(), "tpe", 3, 14) == windowed


def test_a_study_beyond_it_does_not_end_and_stays_seeded(monkeypatch):
    monkeypatch.setattr(history, "MAX_MODELLED", 8)
    params = go_on(new_study(), "tpe", 3, 24)
    assert len(params) == 24
    assert go_on(new_study(), "tpe", 3, 24) == params


def test_the_user_is_told():
    assert notices("tpe", MAX_MODELLED) == notices("random", 5000) == []
    (notice,) = notices("tpe", 5000)
    assert "learns from the front and the latest 1,000" in notice
