"""The projection beside the training: updates in a thread that nothing waits for."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from search.mlflow_client import reason_of
from search.snapshot import StudySnapshot

_SWITCH_S = 5e-5
"""How long the training waits, at most, for the interpreter while this thread computes. It waits
so at each operator that it starts: with Python's 5 ms a page that took a second to draw held the
training up for nearly all of it; this costs the drawing thread a third of its speed."""

Take = Callable[[], StudySnapshot]
"""Takes a snapshot; called in the thread, so that training does not wait for it either."""


class Updated(Protocol):
    """What the thread updates: search/tracking.py's Projection."""

    place: str

    def update(self, snapshot: StudySnapshot) -> None:
        """Bring the runs up to the snapshot."""

    def log_system(self, metrics: Mapping[str, float]) -> None:
        """Log what the machine does now."""


class TrackingThread:
    """Updates of a projection beside the training: the latest wish wins, none is waited for.

    Args:
        projection: what is updated; no other thread may use it meanwhile.
        warn: called once, from the thread, with one line if the store does not answer.
        interval_s: the least time between the starts of two updates.
        refresh_s: how long after that an update is made unasked: trials begin without a wish.
        measure: returns what the machine does now, to be logged with each update.
    """

    def __init__(
        self,
        projection: Updated,
        warn: Callable[[str], None],
        interval_s: float = 14.0,
        refresh_s: float = 14.0,
        measure: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self._projection = projection
        self._warn = warn
        self._interval_s = interval_s
        self._refresh_s = refresh_s
        self._measure = measure
        self._condition = threading.Condition()
        self._take: Take | None = None
        self._wished = False
        self._closing = False
        self._warned = False
        self._complete = False
        self.busy_s = 0.0
        """Processor seconds that the thread has spent on updates."""
        # A daemon: a server that hangs must not keep the process.
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self._thread.start()

    def submit(self, take: Take) -> None:
        """Wish for an update to the snapshot that `take` takes when its time has come."""
        with self._condition:
            self._take, self._wished = take, True
            self._condition.notify()

    def close(self, take: Take, wait_s: float = 60.0) -> bool:
        """Make a last update and end the thread; return whether the projection is complete.

        After `wait_s` seconds the update is left to itself and counts as incomplete.
        """
        with self._condition:
            self._take, self._wished, self._closing = take, True, True
            self._condition.notify()
        # Training is over: the update may have the interpreter for as long as it likes.
        sys.setswitchinterval(self._switch_s)
        self._thread.join(wait_s)
        return self._complete and not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._wished, timeout=self._refresh_s)
                take, last = self._take, self._closing
                self._wished = False
            if take is None:
                continue
            started = time.monotonic()
            self._complete = self._update(take)
            self.busy_s = time.thread_time()
            if last:
                return
            with self._condition:
                rest_s = started + self._interval_s - time.monotonic()
                self._condition.wait_for(lambda: self._closing, timeout=max(rest_s, 0.0))

    def _update(self, take: Take) -> bool:
        try:
            self._projection.update(take())
            if self._measure is not None:
                self._projection.log_system(self._measure())
        except Exception as error:  # Whatever a store or a server throws: no trial is lost to it.
            if not self._warned:
                self._warned = True
                reason = reason_of(error)
                self._warn(
                    f"Tracking at {self._projection.place} failed ({reason}). The study goes on;"
                    " MLflow is brought up to date when tracking works again, at the latest when"
                    " the same search is run once more."
                )
            return False
        return True
