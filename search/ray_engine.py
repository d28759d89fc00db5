"""Workers that are actors of Ray's: of this machine, or of a cluster, in one and the same way.

Ray's own ways to run a killed task again are off: who is run again is decided in the loop.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from search.capacity import Share
from search.context import StudyContext
from search.job import Failure, Job, Outcome
from search.memory_limit import Blame
from search.ray_desk import Desk, News
from search.ray_worker import Worker
from search.store import redacted
from search.workers import Ended, Listener, Lost
from space.errors import UserError
from space.spec import AdapterSpec
from trainers.reports import EpochReport

WAIT_S = 1.0
"""How long `wait` waits at most."""
MAX_FAILED_STARTS = 5
"""Workers in a row that die before they are ready, after which no more are started."""
LOST = "its worker was lost: the process or its machine died"
"""Which of the two it was shows, if ever, only later."""
NO_MEMORY = "no memory left on its machine, so that its worker was ended"


@dataclass(kw_only=True)
class _Slot:
    """A place for a worker; another takes it where one dies."""

    actor: Any
    starting: Any
    """What Ray gives when the worker is ready; None when it is."""
    number: int | None = None
    """Of the trial that it trains."""
    spec: AdapterSpec | None = None
    """The structure of that trial."""
    training: Any = None
    """What Ray gives when the trial has ended."""


class RayWorkers:
    """Actors that train, and the desk that they report to. Ray has been started.

    Args:
        context: the study, as this process has prepared it.
        folder: the study file's.
        n_workers: how many.
        share: what each has.
        tell: takes sentences for the user.
    """

    def __init__(
        self,
        context: StudyContext,
        folder: Path,
        n_workers: int,
        share: Share,
        tell: Callable[[str], None],
    ) -> None:
        self._study = redacted(context.study)
        self._folder = str(folder)
        self._engine = context.engine
        self._worker = _worker_class(share)
        self._n_threads = share.cores
        self._tell = tell
        self._desk: Any = _new_desk()
        self._news: Any = self._desk.take.remote()
        self._answers: dict[tuple[int, float], bool] = {}
        self._n_failed_starts = 0
        self._blame = Blame(context.cost)
        self._slots = [self._new_slot() for _ in range(n_workers)]

    @property
    def n_free(self) -> int:
        """How many workers are ready and have nothing to do."""
        return sum(slot.starting is None and slot.training is None for slot in self._slots)

    def start(self, job: Job) -> None:
        """Give a free worker a trial to train."""
        slot = next(s for s in self._slots if s.starting is None and s.training is None)
        slot.number, slot.spec = job.number, job.spec
        slot.training = slot.actor.train.remote(job)

    def wait(self, listener: Listener) -> Ended | None:
        """Wait for a short while until something happens; return a trial that ended, if one did.

        Raises:
            UserError: workers cannot be started.
            whatever `listener` raises.
        """
        pending = [ref for s in self._slots for ref in (s.starting, s.training) if ref is not None]
        done, _ = ray.wait([self._news, *pending], num_returns=1, timeout=WAIT_S)
        if self._news in done:
            news = ray.get(self._news)
            self._news = self._desk.take.remote()
            self._pass_on(news, listener)
        for place, slot in enumerate(self._slots):
            if slot.starting in done:
                self._started(place)
            elif slot.training in done:
                return self._ended(place)
        return None

    def close(self) -> None:
        """End the workers, whatever they do."""
        if ray.is_initialized():
            for slot in self._slots:
                ray.kill(slot.actor)
            ray.kill(self._desk)
        self._slots = []

    def _pass_on(self, news: News, listener: Listener) -> None:
        for notice in news.notices:
            self._tell(notice)
        for number, epoch in news.reports:
            key = (number, epoch["epoch"])
            # A report may come twice: the desk is started anew where its process is killed.
            if key not in self._answers:
                self._answers[key] = listener.report(number, EpochReport.from_dict(epoch))
            self._desk.answer.remote(*key, self._answers[key])
        for number, (n_done, n_steps) in news.ticks.items():
            listener.tick(number, n_done, n_steps)

    def _new_slot(self) -> _Slot:
        actor = self._worker.remote(
            self._study, self._folder, self._engine, self._n_threads, self._desk
        )
        return _Slot(actor=actor, starting=actor.prepare.remote())

    def _renew(self, place: int) -> None:
        """Put another worker in the place of one that is dead, or cannot be reached."""
        ray.kill(self._slots[place].actor)  # or it would keep its share of the machine
        self._slots[place] = self._new_slot()

    def _started(self, place: int) -> None:
        try:
            ray.get(self._slots[place].starting)
        except RayTaskError as error:
            raise _cause(error) from error
        except RayError as error:
            self._n_failed_starts += 1
            if self._n_failed_starts == MAX_FAILED_STARTS:
                raise UserError(
                    f"workers: the last {MAX_FAILED_STARTS} of them died while they prepared the"
                    " study. Fewer of them need less memory."
                ) from error
            self._renew(place)
        else:
            self._n_failed_starts = 0
            self._slots[place] = replace(self._slots[place], starting=None)

    def _ended(self, place: int) -> Ended:
        slot = self._slots[place]
        assert slot.number is not None
        result: Outcome | Failure | Lost | Exception
        try:
            result = ray.get(slot.training)
            self._slots[place] = replace(slot, number=None, spec=None, training=None)
        except RayTaskError as error:
            result = _cause(error)
            self._slots[place] = replace(slot, number=None, spec=None, training=None)
        except RayError as error:
            result = self._died(place, error)
            self._renew(place)
        self._answers = {key: goes for key, goes in self._answers.items() if key[0] != slot.number}
        return Ended(number=slot.number, result=result)

    def _died(self, place: int, error: RayError) -> Failure | Lost:
        """Return what the death of a worker tells of the structure that it trained."""
        if not isinstance(error, OutOfMemoryError):
            return Lost(reason=LOST)
        own = self._slots[place].spec
        assert own is not None, "it has a trial"
        beside = [s.spec for i, s in enumerate(self._slots) if i != place and s.spec is not None]
        if self._blame.lies_with(own, beside):
            return Failure(reason=NO_MEMORY, out_of_memory=True)
        return Lost(reason=NO_MEMORY)


def _worker_class(share: Share) -> Any:
    """Return the class of actors with such a share; made once: Ray keeps each that it is given."""
    options: dict[str, Any] = {"num_cpus": share.cores, "num_gpus": share.gpus}
    if share.memory_mib is not None:
        options["memory"] = share.memory_mib * 2**20
    # Threads are counted before torch is loaded.
    environment = {"OMP_NUM_THREADS": str(share.cores)}
    worker = ray.remote(max_restarts=0, max_task_retries=0, **options)(Worker)
    return worker.options(runtime_env={"env_vars": environment})


def _new_desk() -> Any:
    """Return a desk on this machine; Ray starts it anew, and asks it again, where it is killed."""
    here = ray.get_runtime_context().get_node_id()
    place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    desk = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Desk)
    return desk.options(scheduling_strategy=place, max_concurrency=10_000).remote()


def _cause(error: RayTaskError) -> Exception:
    """Return what a worker raised."""
    return error.cause if isinstance(error.cause, Exception) else error
