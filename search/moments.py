"""When trials began and ended, whatever the clock on the wall did meanwhile.

The storage holds times of that clock, which is set right by a server, or put an hour on in spring:
a trial in whose middle it jumps has ended before it began there, or ran for a day. How long a trial
took is therefore measured by a clock that nobody sets, and kept with the trial.
"""

from datetime import datetime, timedelta

from optuna.trial import FrozenTrial

TOOK_S = "took_s"
"""Trial attribute: the seconds from its beginning to its end, or to the last sign of one whose
process was killed; there if a worker trained it."""


def begin_of(trial: FrozenTrial) -> datetime:
    """Return when a trial began, by the clock on the wall."""
    assert trial.datetime_start is not None
    return trial.datetime_start


def end_of(trial: FrozenTrial) -> datetime:
    """Return when a trial ended, never before it began; of one that runs, now."""
    begin, took_s = begin_of(trial), trial.user_attrs.get(TOOK_S)
    if took_s is not None and trial.datetime_complete is not None:
        return begin + timedelta(seconds=took_s)
    return max(trial.datetime_complete or datetime.now(), begin)
