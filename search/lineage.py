"""Which trials are one training: those that take up the training of a stopped one.

One that was cut off is run again by another trial; what was cut off counts for nothing.

The later trial names the stopped one in an attribute; Optuna lets no finished trial be changed, so
that everything else follows from there. Together they are one training: it spends the budget
once, stands once in every rung, and gives at most one point of the front.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

RESUMES = "resumes"
"""Trial attribute: the number of the stopped trial whose training this one takes up."""
RETRY_OF = "retry_of"
"""Trial attribute: the number of the trial that was cut off and is run again as this one."""


def lineage(trials: Sequence[FrozenTrial], number: int) -> tuple[int, ...]:
    """Return the trials that one training is made of, up to this one: who began it comes first."""
    found = [number]
    while (earlier := trials[found[0]].user_attrs.get(RESUMES)) is not None:
        found.insert(0, int(earlier))
    return tuple(found)


def cut_off_before(trials: Sequence[FrozenTrial], number: int) -> tuple[int, ...]:
    """Return the trials that were cut off and are run again as this one, the latest first."""
    found: list[int] = []
    while (earlier := trials[number].user_attrs.get(RETRY_OF)) is not None:
        number = int(earlier)
        found.append(number)
    return tuple(found)


def resumed_as(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Return, for each stopped trial that was taken up, the trial that did or will do so.

    One that was cut off is left out: the trial is taken up again.
    """
    return {
        int(trial.user_attrs[RESUMES]): trial
        for trial in trials
        if RESUMES in trial.user_attrs and trial.user_attrs.get("end") != "interrupted"
    }
