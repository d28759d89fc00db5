"""Simulated studies: who waits for whom; and the copies that stand for a long study."""

import optuna
import pytest
from optuna.trial import TrialState

from studies.scale.driver import STEPS, Spent
from studies.scale.fill import fill
from studies.scale.simulate import at, simulate
from studies.scale.table import Measured, tables
from studies.scale.trainings import N_EPOCHS, Training, Trainings
from tests.search.finished_study import finished_study

ALIKE = [Training(accuracies=(0.5, 0.6, 0.7), epoch_s=(2.0, 2.0, 2.0))]


def costs(seconds):
    return {step: [(10, seconds)] for step in STEPS}


def test_a_driver_that_costs_nothing_keeps_all_workers_busy():
    outcome = simulate(costs(0.0), ALIKE, n_workers=10, n_trials=400, mean_epoch_s=2.0)
    assert outcome.driver_busy == 0
    assert outcome.workers_busy == pytest.approx(1, abs=0.05)
    # 40 % of the trials have three epochs, the others one.
    assert outcome.hours * 3600 == pytest.approx(400 * 1.8 * 2.0 / 10, rel=0.1)


def test_a_slow_driver_is_what_more_workers_wait_for():
    few, many = (
        simulate(costs(0.1), ALIKE, n_workers=n, n_trials=500, mean_epoch_s=2.0) for n in (5, 100)
    )
    assert few.driver_busy < many.driver_busy
    assert many.driver_busy > 0.95 and many.workers_busy < 0.5 < few.workers_busy
    assert many.trials_an_hour(500) == pytest.approx(3600 / (0.1 * (2 + 1.8)), rel=0.15)


def test_costs_lie_on_lines_between_the_measured_sizes():
    points = [(10, 1.0), (20, 2.0), (40, 8.0)]
    assert [at(points, n) for n in (1, 10, 15, 30, 40, 99)] == [1, 1, 1.5, 5, 8, 8]


def test_every_training_of_the_table_has_its_epochs():
    trainings = Trainings().all()
    assert len(trainings) > 1000
    assert all(len(t.accuracies) == len(t.epoch_s) == N_EPOCHS for t in trainings)
    assert all(min(t.epoch_s) > 0 for t in trainings)


def test_a_filled_study_is_one_that_optuna_reads(tmp_path):
    base = finished_study(tmp_path)
    url = f"sqlite:///{tmp_path / 'long.db'}"
    optuna.create_study(study_name="long", storage=url, directions=["maximize", "minimize"])
    fill(f"sqlite:///{tmp_path / 'paradapt.db'}", url, 500, 20)
    trials = optuna.load_study(study_name="long", storage=url).get_trials()
    assert [trial.number for trial in trials] == list(range(500))
    assert all(trial.state == TrialState.RUNNING for trial in trials[-20:])
    assert not any("end" in trial.user_attrs for trial in trials[-20:])
    first, copied = base.trials[0], trials[len(base.trials)]
    assert copied.params == first.params and copied.user_attrs == first.user_attrs
    assert copied.values == pytest.approx(first.values, rel=2e-3)


def test_the_tables_name_every_number():
    spent = {step: Spent(whole_s=0.5, storage_s=0.25, n_calls=7) for step in STEPS}
    point = Measured(
        storage="sqlite", n_workers=10, sizes={100: spent}, run_s=0.1, pages_s=(1.0, 4.0)
    )
    outcome = simulate(costs(0.5), ALIKE, n_workers=2, n_trials=20, mean_epoch_s=2.0)
    text = tables([point], [(point, 2.0, outcome)], 20)
    assert "| sqlite | 10 | 100 | 1.50 | 0.75 | 21 | 0.75 |" in text
    assert "0.10 s for the run of one trial (36,000 an hour)" in text
