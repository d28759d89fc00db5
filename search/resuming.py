"""What a training gave that was stopped and taken up again: both parts together."""

from dataclasses import replace

import optuna

from search.lineage import RESUMES
from trainers.fit import EpochReport, FitResult


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
