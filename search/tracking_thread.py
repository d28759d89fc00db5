"""The projection beside the training: updates in a thread that nothing waits for."""

import threading
import time
from collections.abc import Callable

from search.mlflow_client import redacted
from search.tracking import Projection, StudySnapshot


class TrackingThread:
    """Updates of a projection beside the training: the latest snapshot wins, none is waited for.

    Args:
        projection: what is updated; no other thread may use it meanwhile.
        warn: called once, from the thread, with one line if the store does not answer.
        interval_s: the least time between the starts of two updates.
    """

    def __init__(
        self, projection: Projection, warn: Callable[[str], None], interval_s: float = 10.0
    ) -> None:
        self._projection = projection
        self._warn = warn
        self._interval_s = interval_s
        self._condition = threading.Condition()
        self._latest: StudySnapshot | None = None
        self._closing = False
        self._warned = False
        self._complete = False
        # A daemon: a server that hangs must not keep the process.
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def submit(self, snapshot: StudySnapshot) -> None:
        """Leave a snapshot for the next update, in place of one that still waits."""
        with self._condition:
            self._latest = snapshot
            self._condition.notify()

    def close(self, snapshot: StudySnapshot, wait_s: float = 60.0) -> bool:
        """Make a last update and end the thread; return whether the projection is complete.

        After `wait_s` seconds the update is left to itself and counts as incomplete.
        """
        with self._condition:
            self._latest, self._closing = snapshot, True
            self._condition.notify()
        self._thread.join(wait_s)
        return self._complete and not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._latest is not None)
                snapshot, last = self._latest, self._closing
                self._latest = None
            assert snapshot is not None
            started = time.monotonic()
            self._complete = self._update(snapshot)
            if last:
                return
            with self._condition:
                rest_s = started + self._interval_s - time.monotonic()
                self._condition.wait_for(lambda: self._closing, timeout=max(rest_s, 0.0))

    def _update(self, snapshot: StudySnapshot) -> bool:
        try:
            self._projection.update(snapshot)
        except Exception as error:  # Whatever a store or a server throws: no trial is lost to it.
            if not self._warned:
                self._warned = True
                reason = " ".join(redacted(str(error)).split())[:240]
                self._warn(
                    f"Tracking at {self._projection.place} failed ({reason}). The study goes on;"
                    " MLflow is brought up to date when tracking works again, at the latest when"
                    " the same search is run once more."
                )
            return False
        return True
