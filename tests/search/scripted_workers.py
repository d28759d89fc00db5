"""Workers for tests: they train in this process, one after the other, and die as a test says."""

from search.job import Job
from search.trial import work
from search.workers import Ended, Lost


class ScriptedWorkers:
    """As many workers as a test wants; the trial that was given first is trained first.

    Args:
        context: the study.
        n_workers: how many.
        faults: {how often a trial was given before: what becomes of this one}: a Lost or another
            result, or a function of the job that returns one.
        late: also hand in, behind a lost trial, what its training would have given.
    """

    def __init__(self, context, n_workers=2, faults=None, late=False):
        self.context, self.n_workers, self.faults, self.late = (
            context,
            n_workers,
            faults or {},
            late,
        )
        self.given: list[Job] = []
        self.running: list[tuple[int, Job]] = []
        self.behind: list[Ended] = []
        self.most, self.closed = 0, 0

    @property
    def n_free(self):
        return self.n_workers - len(self.running)

    def start(self, job):
        self.running.append((len(self.given), job))
        self.given.append(job)
        self.most = max(self.most, len(self.running))

    def wait(self, listener):
        if self.behind:
            return self.behind.pop()
        if not self.running:
            return None
        place, job = self.running.pop(0)
        fault = self.faults.get(place)
        result = fault(job, listener) if callable(fault) else fault
        if result is None:
            result = self.trained(job, listener)
        elif isinstance(result, Lost) and self.late:
            self.behind.append(Ended(number=job.number, result=self.trained(job, listener)))
        return Ended(number=job.number, result=result)

    def trained(self, job, listener):
        return work(
            self.context,
            job,
            lambda epoch: listener.report(job.number, epoch),
            lambda n_done, n_steps: listener.tick(job.number, n_done, n_steps),
        )

    def close(self):
        self.closed += 1


class Died(BaseException):
    """Stands for a SIGKILL of a worker in the middle of a training."""


def dies_after(n_reports):
    """A fault: the worker dies behind so many validations, its checkpoints left behind."""

    def fault(job, listener, context):
        count = 0

        def report(epoch):
            nonlocal count
            goes_on = listener.report(job.number, epoch)
            count += 1
            return goes_on

        def tick(n_done, n_steps):
            if count == n_reports:
                raise Died

        try:
            work(context, job, report, tick)
        except Died:
            return Lost(reason="its worker died")
        raise AssertionError("the training was over before")

    return fault
