"""Who trains: the engine as the loop of a study sees it, whatever stands behind it.

A worker trains one structure at a time, and reports to the loop, which alone decides. One worker
is this process itself (search/in_process.py); several are Ray's actors, one machine's or a
cluster's (search/ray_engine.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from search.job import Failure, Job, Outcome
from trainers.reports import EpochReport


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who is told what workers report while they train; all must return soon."""

    report: Callable[[int, EpochReport], bool]
    """(trial, what a validation gave) -> whether the trial goes on."""
    tick: Callable[[int, int, int], None]
    """(trial, steps done, steps in all); may raise to stop everything."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker died, or cannot be reached, in the middle of a trial."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial that no worker trains any more."""

    number: int
    result: Outcome | Failure | Lost | Exception
    """An exception is a fault of ours or of the machine, not of the structure."""


class Workers(Protocol):
    """The workers of one run of the command."""

    @property
    def n_free(self) -> int:
        """How many workers have nothing to do."""

    def start(self, job: Job) -> None:
        """Give a free worker a trial to train."""

    def wait(self, listener: Listener) -> Ended | None:
        """Wait, for a short while where others train, until a trial ends; None if none did.

        Raises:
            whatever `listener` raises.
        """

    def close(self) -> None:
        """End the workers, whatever they do."""
