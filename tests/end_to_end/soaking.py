"""Run the search while its workers are killed at random, and watch the memory of its driver."""

import random
import statistics
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import psutil

from tests.end_to_end.tiny_study import COMMAND, environment
from tests.end_to_end.worker_study import kill, training_workers

SEED = 20
KILL_EVERY_S = (3.0, 10.0)
SAMPLE_S = 10.0
"""How often the driver's memory is looked at."""
LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Soak:
    """How long a soak is, and how much the driver's memory may grow in it."""

    n_trials: int
    kills_s: float
    """For so long workers are killed, from when the first of them trains."""
    end_s: float
    """What takes longer hangs, and is ended."""
    growth_mib: float
    """Allowed from the second quarter of the samples to the last ..."""
    growth_mib_1000: float
    """... and so much more for each 1,000 trials that ended between."""


@dataclass(kw_only=True)
class Seen:
    """What was done and seen while the command ran."""

    kills_s: list[float] = field(default_factory=list)
    """When workers were killed, in seconds since the start."""
    samples: list[tuple[datetime, float]] = field(default_factory=list)
    """(when, resident memory of the driver in MiB)"""
    wall_s: float = 0.0

    @property
    def rss_mib(self):
        """The median of each quarter of the samples."""
        return [statistics.median(rss for _, rss in quarter) for quarter in self._quarters()]

    def n_ended_between(self, trials):
        """How many trials ended between the second quarter and the last, on the mean."""
        ends = [trial.datetime_complete for trial in trials if trial.state.is_finished()]
        n_ended = [
            statistics.mean(sum(end <= at for end in ends) for at, _ in quarter)
            for quarter in self._quarters()
        ]
        return n_ended[3] - n_ended[1]

    def _quarters(self):
        n = len(self.samples)
        return [self.samples[n * part // 4 : n * (part + 1) // 4] for part in range(4)]


@contextmanager
def command(folder):
    """Run the search; what it writes goes to files, since nobody reads along."""
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        process = subprocess.Popen(
            [COMMAND, "search", "study.yaml"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                kill(process)
                process.wait()


def watch(process, folder, soak):
    """Kill workers at random times, and look at the driver's memory, until the command ends."""
    draw, seen = random.Random(SEED), Seen()
    began, now_s, next_sample_s, next_kill_s = time.monotonic(), 0.0, 0.0, 0.0
    while process.poll() is None and now_s < soak.end_s:
        now_s = time.monotonic() - began
        if now_s >= next_sample_s:
            with suppress(psutil.NoSuchProcess):
                rss_mib = psutil.Process(process.pid).memory_info().rss / 2**20
                seen.samples.append((datetime.now(), rss_mib))
            next_sample_s = now_s + SAMPLE_S
        killing = not seen.kills_s or now_s < seen.kills_s[0] + soak.kills_s
        if killing and now_s >= next_kill_s:
            # At a time that does not follow from theirs: none may train just then.
            next_kill_s = now_s + draw.uniform(*KILL_EVERY_S)
            workers = training_workers(folder)
            if workers:
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    kill(draw.choice(workers))
                    seen.kills_s.append(now_s)
        time.sleep(LOOK_S)
    seen.wall_s = time.monotonic() - began
    return seen
