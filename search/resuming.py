"""Trials that take up the training of a stopped one: successive halving with promotion.

The new trial names the stopped one in an attribute; Optuna lets no finished trial be changed, so
that everything else follows from there. Together they are one training: it spends the budget
once, stands once in every rung, and gives at most one point of the front.
"""

from collections.abc import Sequence
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial

from trainers.fit import EpochReport, FitResult

RESUMES = "resumes"
"""Trial attribute: the number of the stopped trial whose training this one takes up."""


def lineage(trials: Sequence[FrozenTrial], number: int) -> tuple[int, ...]:
    """Return the trials that one training is made of, up to this one: who began it comes first."""
    found = [number]
    while (earlier := trials[found[0]].user_attrs.get(RESUMES)) is not None:
        found.insert(0, int(earlier))
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


def with_earlier(result: FitResult, trial: optuna.Trial) -> FitResult:
    """Return what a resumed training gave in all, the stopped trial's part included."""
    number = trial.user_attrs.get(RESUMES)
    if number is None:
        return result
    earlier = trial.study.get_trials(deepcopy=False)[number].user_attrs
    spent, history = earlier["metrics"], tuple(map(_report, earlier["history"]))
    if result.history[0].epoch <= history[-1].epoch:
        return result  # its state was gone, so that it began anew
    return replace(
        result,
        history=(*history, *result.history),
        metrics={
            **result.metrics,
            "train_s": spent["train_s"] + result.metrics["train_s"],
            "peak_memory_mib": max(spent["peak_memory_mib"], result.metrics["peak_memory_mib"]),
        },
    )


def _report(plain: dict[str, float]) -> EpochReport:
    metrics = {name: v for name, v in plain.items() if name not in ("epoch", "time_ms")}
    return EpochReport(epoch=plain["epoch"], time_ms=int(plain["time_ms"]), metrics=metrics)
