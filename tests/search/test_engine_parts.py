"""The parts that several workers and drivers need: cores, shares, the desk, leases, the display."""

import asyncio
import io
import os
from contextlib import nullcontext
from dataclasses import replace

import pytest

from search import capacity, cores
from search.drivers import BEAT_S, DEAD_S, Drivers
from search.job import Failure
from search.progress import Progress
from search.ray_desk import Desk
from search.retries import DIED
from search.store import open_study
from search.turns import shared_by_drivers
from search.workers import Lost
from space.errors import UserError
from space.spec import AdapterSpec


class TestCores:
    @pytest.fixture(autouse=True)
    def _four_cores(self, monkeypatch):
        """This process may use four cores; what it is bound to is noted."""
        self.bound = []
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
        monkeypatch.setattr(os, "sched_setaffinity", lambda _, own: self.bound.append(set(own)))

    @pytest.fixture
    def claim(self, tmp_path):
        """Return a function that claims cores; what is claimed is let go after the test."""
        held = []

        def run(n_cores):
            held.append(cores.claim(n_cores, tmp_path))
            return held[-1]

        yield run
        let_go(lock for locks in held for lock in locks)

    def test_no_two_claims_have_a_core_in_common(self, claim):
        assert len(claim(2)) == len(claim(2)) == 2
        assert self.bound == [{0, 1}, {2, 3}]

    def test_where_too_few_are_left_the_system_decides(self, claim):
        claim(3)
        assert claim(2) == [] and self.bound == [{0, 1, 2}]
        claim(1)
        assert self.bound[-1] == {3}

    def test_a_claim_goes_with_what_holds_it(self, claim):
        let_go(claim(4))
        assert len(claim(4)) == 4 and self.bound == [{0, 1, 2, 3}] * 2


def let_go(locks):
    for lock in locks:
        lock.close()


class TestShares:
    @pytest.fixture
    def study(self, load, monkeypatch):
        """Return a function that loads a study on a machine of eight cores without a GPU."""
        monkeypatch.setattr(cores, "available", lambda: 8)
        monkeypatch.setattr(capacity.torch.cuda, "device_count", lambda: 0)
        return load

    @pytest.mark.parametrize(
        ("keys", "n_workers", "n_cores"),
        [
            ({"workers": 2}, 2, 4),
            ({"workers": 3}, 3, 2),
            ({"workers": 8}, 8, 1),
            ({"workers": 2, "engine": {"cores": 1}}, 2, 1),
            ({"workers": "auto", "engine": {"cores": 4, "memory_gib": 0.001}}, 2, 4),
            ({"workers": "auto", "engine": {"memory_gib": 0.001}}, 8, 1),
            ({"workers": "auto", "engine": {"memory_gib": 1e6}}, 1, 1),
        ],
    )
    def test_workers_share_the_cores_and_never_more(self, study, keys, n_workers, n_cores):
        own = study(**keys)
        assert capacity.n_workers_here(own) == n_workers
        assert capacity.share_of(own, n_workers).cores == n_cores

    @pytest.mark.parametrize("keys", [{"workers": 9}, {"workers": 3, "engine": {"cores": 3}}])
    def test_more_than_the_machine_has_are_refused(self, study, keys):
        with pytest.raises(UserError, match=r"cores, but this machine has 8 for them"):
            capacity.n_workers_here(study(**keys))

    def test_of_a_gpu_each_has_its_part(self, study, monkeypatch):
        monkeypatch.setattr(capacity.torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(capacity.torch.cuda, "is_available", lambda: True)
        assert capacity.share_of(study(workers=4), 4).gpus == 0.5
        assert capacity.share_of(study(workers=1), 1).gpus == 1.0
        asked = study(workers="auto", engine={"gpus": 0.5, "memory_gib": 0.001})
        assert capacity.n_workers_here(asked) == 4
        assert capacity.share_of(asked, 4).gpus == 0.5

    def test_a_cluster_is_asked_for_what_the_file_says(self, study):
        own = study(workers=50, engine={"ray": "10.0.0.1:6379", "memory_gib": 1.5})
        share = capacity.share_of(own, None)
        assert (share.cores, share.gpus, share.memory_mib) == (1, 0.0, 1536)
        assert not capacity.in_process(own) and capacity.in_process(study())


class TestDesk:
    def test_a_report_waits_for_its_answer_and_ticks_do_not(self):
        async def talk():
            desk = Desk()
            waiting = asyncio.ensure_future(desk.report(3, {"epoch": 1.0, "accuracy": 0.5}))
            await desk.tick(3, 4, 8)
            await desk.tick(3, 5, 8)
            await desk.tell("the cache has no room")
            await asyncio.sleep(0)
            news = await desk.take()
            assert news.reports == [(3, {"epoch": 1.0, "accuracy": 0.5})]
            assert news.ticks == {3: (5, 8)} and news.notices == ["the cache has no room"]
            assert not waiting.done()
            await desk.answer(3, 1.0, False)
            assert await waiting is False
            assert (await desk.take()).reports == []

        asyncio.run(talk())

    def test_an_answer_may_be_there_before_the_question_is_asked_anew(self):
        async def talk():
            desk = Desk()
            await desk.answer(3, 2.0, True)
            assert await desk.report(3, {"epoch": 2.0}) is True

        asyncio.run(talk())


class TestRayWorkers:
    """What an actor's end means; the rest of it is shown by real ones in tests/end_to_end."""

    @pytest.fixture
    def ended(self, monkeypatch):
        """Return a function that tells how trial 3 ended where Ray raises or gives something."""
        ray_engine = pytest.importorskip("search.ray_engine", reason="Ray is not installed")

        def run(given):
            def get(_):
                if isinstance(given, Exception):
                    raise given
                return given

            workers = object.__new__(ray_engine.RayWorkers)
            slot = ray_engine._Slot(actor="old", starting=None, number=3, training="x")
            workers._slots = [replace(slot, spec=AdapterSpec(depth=1))]
            workers._blame = ray_engine.Blame(None)
            workers._answers = {(3, 1.0): True, (4, 1.0): False}
            new = ray_engine._Slot(actor="new", starting="starting")
            killed = []
            monkeypatch.setattr(workers, "_new_slot", lambda: new)
            monkeypatch.setattr(ray_engine.ray, "get", get)
            monkeypatch.setattr(ray_engine.ray, "kill", killed.append)
            found = workers._ended(0)
            assert found.number == 3
            assert workers._answers == {(4, 1.0): False}  # nobody asks for the others any more
            # One that cannot be reached, and may yet live, must not keep its share.
            assert killed == ([] if workers._slots[0].actor == "old" else ["old"])
            return found.result, workers

        return run

    def test_no_memory_left_is_the_fault_of_the_trial(self, ended):
        from ray.exceptions import OutOfMemoryError

        result, workers = ended(OutOfMemoryError("the node is low on memory"))
        assert isinstance(result, Failure) and result.out_of_memory
        assert workers._slots[0].actor == "new" and workers.n_free == 0

    def test_any_other_death_is_a_loss(self, ended):
        from ray.exceptions import RayActorError

        result, workers = ended(RayActorError())
        assert isinstance(result, Lost) and workers._slots[0].actor == "new"

    def test_what_a_training_raised_is_handed_on_and_the_worker_lives(self, ended):
        from ray.exceptions import RayTaskError

        cause = OSError("no space left on device")
        result, workers = ended(RayTaskError("train", "a trace", cause))
        assert result is cause
        assert workers._slots[0].actor == "old" and workers.n_free == 1

    def test_an_outcome_is_handed_on(self, ended):
        outcome = Failure(reason="the loss became nan", out_of_memory=False)
        result, workers = ended(outcome)
        assert result is outcome and workers.n_free == 1


class TestDrivers:
    """Leases by a made-up clock; that PostgreSQL is shared is shown in tests/end_to_end."""

    @pytest.fixture
    def study(self, context_of, monkeypatch):
        """A study with a trial of another driver, seen as on a shared storage; and the clock."""
        context = context_of()
        stored = open_study(context)
        trial = stored.ask()
        context.space.sample(trial)
        clock = [0.0]
        monkeypatch.setattr("search.drivers.time.monotonic", lambda: clock[0])
        drivers = Drivers(context, stored)
        drivers._shared = True
        monkeypatch.setattr(Drivers, "turn", lambda _: nullcontext())

        def later(seconds, step=BEAT_S):
            until = clock[0] + seconds
            while clock[0] < until:
                clock[0] += min(step, until - clock[0])
                drivers.give_up_dead()
            return stored.get_trials()[0].user_attrs.get("end")

        drivers.give_up_dead()
        return stored, trial, later

    def test_one_that_counts_up_is_alive_however_long_it_takes(self, study):
        stored, trial, later = study
        trial.set_user_attr("driver", "other")
        for count in range(6):
            stored.set_user_attr("driver.other", count)
            assert later(DEAD_S - 1) is None

    @pytest.mark.parametrize("signed", [True, False])
    def test_one_that_does_not_is_dead_and_its_trial_is_run_again(self, study, signed):
        stored, trial, later = study
        if signed:
            trial.set_user_attr("driver", "other")
            stored.set_user_attr("driver.other", 7)
            assert later(10) is None
        assert later(DEAD_S - 1) is None
        assert later(10) == "interrupted"
        first, again = stored.get_trials()
        assert first.user_attrs["reason"] == DIED and again.user_attrs["retry_of"] == 0

    def test_who_slept_or_could_not_look_takes_nobody_for_dead(self, study):
        _, trial, later = study
        trial.set_user_attr("driver", "other")
        assert later(5 * DEAD_S, step=DEAD_S - 1) is None
        assert later(DEAD_S - BEAT_S) is None
        assert later(2 * BEAT_S) == "interrupted"

    @pytest.mark.parametrize(
        ("storage", "shared"),
        [
            ("sqlite:///a.db", False),
            ("postgresql://me@there/base", True),
            ("postgresql+psycopg://me:x@there:5432/base", True),
        ],
    )
    def test_postgresql_alone_is_shared(self, storage, shared):
        assert shared_by_drivers(storage) == shared


def test_all_running_trials_are_shown():
    stream = io.StringIO()
    progress = Progress(4, stream)
    try:
        progress.begin_trials(0, "no front")
        progress.tick(3, 1, 4)
        progress.tick(5, 2, 4)
        progress.ended("trial 3 complete", 1, "front of 1", 3)
    finally:
        progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[-1].startswith("  1/4 trials, front of 1, trial 5 at 50%")
