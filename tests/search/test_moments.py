"""How long trials took, and which driver lives, where the clock on the wall jumps."""

import time
from contextlib import nullcontext
from datetime import timedelta

import pytest
import time_machine

from search import drivers as drivers_module
from search.drivers import DEAD_S, Drivers
from search.moments import begin_of, end_of
from search.pages.clock import Clock
from search.pages.hypervolume import hypervolume_figure
from search.pages.timeline import lanes_of, timeline_figure
from search.report.ownership import search_seconds
from search.store import open_study
from search.tracking import Projection
from search.volume import volumes
from tests.search.finished_study import snapshot_of, trial_of
from tests.search.read_store import ReadStore

TOOK_S = 35.0
DAYS = pytest.mark.parametrize("days", [-1, 1], ids=["back", "forward"])


def with_a_jump(days, **attributes):
    """Three trials of half a minute; the clock jumps in the middle of the second."""
    trials = [
        trial_of([0.5 + number / 10, 0.4], number=number, took_s=TOOK_S, **attributes)
        for number in range(3)
    ]
    trials[1].datetime_complete += timedelta(days=days)
    trials[2].datetime_start += timedelta(days=days)
    trials[2].datetime_complete += timedelta(days=days)
    return trials


@DAYS
class TestAJump:
    def test_a_trial_ends_as_long_after_its_beginning_as_it_took(self, days):
        for trial in with_a_jump(days):
            assert end_of(trial) - begin_of(trial) == timedelta(seconds=TOOK_S)

    def test_it_is_no_time_of_work(self, days):
        clock = Clock(with_a_jump(days))
        # Between the first trial and the second 25 s passed, and so between others without a jump.
        assert clock.total == pytest.approx((3 * TOOK_S + 25) / 60)
        assert len(clock.pauses) == 1

    def test_no_bar_of_the_timeline_is_negative_or_long(self, days):
        trials = with_a_jump(days)
        (bars,) = timeline_figure(trials)["data"]
        assert bars["x"] == pytest.approx([TOOK_S / 60] * 3)
        assert set(lanes_of(trials).values()) == {1}

    def test_the_volume_never_shrinks(self, days):
        snapshot = snapshot_of(with_a_jump(days))
        grown = volumes(snapshot.trials, snapshot.directions)
        for curve in hypervolume_figure(snapshot, grown)["data"]:
            assert curve["x"] == sorted(curve["x"]) and curve["y"] == sorted(curve["y"])

    def test_it_costs_nothing(self, days):
        assert search_seconds(with_a_jump(days)).value == 3 * TOOK_S

    def test_no_run_of_mlflows_ends_before_it_begins_or_a_day_later(self, days, uri):
        Projection(uri, "quickstart").update(snapshot_of(with_a_jump(days)))
        for run in ReadStore(uri).runs("trial"):
            assert run.info.end_time - run.info.start_time == 1000 * TOOK_S


def test_a_trial_of_which_it_is_not_known_never_ends_before_it_begins():
    trial = trial_of([0.8, 0.4])
    assert end_of(trial) == trial.datetime_complete
    trial.datetime_complete = trial.datetime_start - timedelta(days=1)
    assert end_of(trial) == begin_of(trial)


@DAYS
def test_a_driver_that_lives_is_not_dead_because_a_clock_was_set(context_of, monkeypatch, days):
    context = context_of()
    stored = open_study(context)
    trial = stored.ask()
    context.space.sample(trial)
    trial.set_user_attr("driver", "other")
    looking = Drivers(context, stored)
    looking._shared = True
    monkeypatch.setattr(drivers_module, "BEAT_S", 0.0)
    monkeypatch.setattr(Drivers, "turn", lambda _: nullcontext())
    looking.give_up_dead()
    before = time.time()
    with time_machine.travel(before + 86_400 * days):
        assert abs(time.time() - before) > DEAD_S
        looking.give_up_dead()
        looking.give_up_dead()
    assert "end" not in stored.get_trials()[0].user_attrs
