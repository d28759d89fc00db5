"""Several commands on one study: whose trial is whose, and which command is dead.

An SQLite database has one driver (search/store.py keeps others out), so that whatever runs when it
starts was left by a dead one. On PostgreSQL drivers share a study. Each counts up in an attribute
of the study while it lives; one that has not done so for a while, by the clock of who looks on, is
dead, and its trials are run again. No two machines' clocks are compared, and none need be right.
"""

import secrets
import threading
import time
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from search.context import StudyContext
from search.patient_storage import patience_of
from search.retries import DIED, give_up, recover
from search.turns import shared_by_drivers, turn

BEAT_S = 5.0
"""How often a driver counts up."""
DEAD_S = 40.0
"""A driver that has not counted up for so long is dead."""
DRIVER = "driver"
"""Trial attribute: the driver that runs it; study attribute, with its name: its count."""


class Drivers:
    """This driver among all that run a study.

    Args:
        context: the study.
        stored: its storage.
    """

    def __init__(self, context: StudyContext, stored: optuna.Study) -> None:
        self._context = context
        self._stored = stored
        self._name = secrets.token_hex(8)
        self._shared = shared_by_drivers(context.study.storage)
        self._seen: dict[str, tuple[Any, float]] = {}
        self._looked = float("-inf")
        self._closing = threading.Event()
        self._beat = threading.Thread(target=self._count_up, name="beat", daemon=True)

    def __enter__(self) -> Self:
        if self._shared:
            self._beat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._shared:
            self._beat.join()

    def turn(self) -> AbstractContextManager[None]:
        """Keep other drivers from asking for trials meanwhile, so that none is asked for twice."""
        patience = patience_of(self._stored) if self._shared else None
        return turn(self._context.study.storage, self._context.study.name, patience)

    def sign(self, trial: optuna.Trial) -> None:
        """Note that this driver runs a trial."""
        if self._shared:
            trial.set_user_attr(DRIVER, self._name)

    def give_up_dead(self, *, at_start: bool = False) -> None:
        """Bring the trials of dead drivers to an end, to be run again.

        Args:
            at_start: this driver runs no trial yet.
        """
        if not self._shared:
            if at_start:
                recover(self._context, self._stored)
            return
        if time.monotonic() - self._looked < BEAT_S:
            return
        if self._of_dead():
            with self.turn():  # another driver may have done it meanwhile
                give_up(self._context, self._stored, self._of_dead(), DIED)

    def _of_dead(self) -> list[FrozenTrial]:
        counts, running = self._stored.user_attrs, self._running()
        now = time.monotonic()
        if now - self._looked > DEAD_S / 2:
            # Nothing was seen for a while: this process slept, or the database was away for all.
            self._seen.clear()
        self._looked = now
        found = []
        for trial in running:
            # A driver may die between a trial's beginning and its own name there.
            driver = trial.user_attrs.get(DRIVER)
            key = f"trial {trial.number}" if driver is None else str(driver)
            count = counts.get(f"{DRIVER}.{driver}")
            known, since = self._seen.get(key, (object(), now))
            if count != known:
                since = now
            self._seen[key] = (count, since)
            if driver != self._name and now - since > DEAD_S:
                found.append(trial)
        return found

    def _running(self) -> list[FrozenTrial]:
        return self._stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _count_up(self) -> None:
        n = 0
        while True:
            # What cannot be written in spite of all patience ends the study where it is needed.
            with suppress(OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError):
                self._stored.set_user_attr(f"{DRIVER}.{self._name}", n)
            n += 1
            if self._closing.wait(BEAT_S):
                return
