"""One worker: this process itself."""

from search.context import StudyContext
from search.job import Job
from search.trial import work
from search.workers import Ended, Listener
from trainers.reports import EpochReport


class InProcess:
    """Trains in this process while the loop waits."""

    def __init__(self, context: StudyContext) -> None:
        self._context = context
        self._job: Job | None = None

    @property
    def n_free(self) -> int:
        """1 unless a trial was given."""
        return int(self._job is None)

    def start(self, job: Job) -> None:
        """Note the trial; `wait` trains it."""
        assert self._job is None, "the worker has a trial"
        self._job = job

    def wait(self, listener: Listener) -> Ended | None:
        """Train the trial that was given.

        Raises:
            whatever `listener` raises.
        """
        if self._job is None:
            return None
        job, self._job = self._job, None

        def report(epoch: EpochReport) -> bool:
            return listener.report(job.number, epoch)

        def tick(n_done: int, n_steps: int) -> None:
            try:
                listener.tick(job.number, n_done, n_steps)
            except Exception as error:
                raise _Stopped from error

        try:
            return Ended(number=job.number, result=work(self._context, job, report, tick))
        except _Stopped as stopped:
            assert stopped.__cause__ is not None
            raise stopped.__cause__ from None
        except Exception as error:
            return Ended(number=job.number, result=error)

    def close(self) -> None:
        """Nothing is to be ended."""


class _Stopped(BaseException):
    """What the loop raised, on its way through a training, which must not take it for a fault."""
