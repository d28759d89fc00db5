"""Minutes of work: the time in which trials ran, without the pauses between two runs."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from optuna.trial import FrozenTrial

from search.moments import begin_of, end_of

PAUSE = timedelta(minutes=2)
"""Longer gaps between trials are cut out: the study was not run."""


class Clock:
    """Tells moments in minutes of work since the first of some trials, which have all begun."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        self._bouts: list[tuple[datetime, datetime]] = []
        for trial in sorted(trials, key=begin_of):
            begin, end = begin_of(trial), end_of(trial)
            if self._bouts and begin - self._bouts[-1][1] <= PAUSE:
                self._bouts[-1] = (self._bouts[-1][0], max(self._bouts[-1][1], end))
            else:
                self._bouts.append((begin, end))

    @property
    def pauses(self) -> list[float]:
        """The moments at which time was cut out."""
        return [self.minutes(end) for _, end in self._bouts[:-1]]

    @property
    def total(self) -> float:
        """All minutes of work."""
        return self.minutes(self._bouts[-1][1]) if self._bouts else 0.0

    def minutes(self, moment: datetime) -> float:
        """Return how many minutes of work lay before a moment."""
        worked = timedelta()
        for begin, end in self._bouts:
            if moment <= end:
                worked += max(moment - begin, timedelta())
                break
            worked += end - begin
        return worked / timedelta(minutes=1)
