"""What the trials of a study spent on training, and what stopping some of them saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.lineage import RESUMES


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one trial spent itself; the part of a stopped trial that it took up is not in it."""

    epochs: float
    seconds: float
    gflops: float
    """Of its training steps: GFLOPs of a row and epoch, times rows, times epochs."""


def spent_by(trials: Sequence[FrozenTrial], trial: FrozenTrial, n_train: int | None) -> Spent:
    """Return what a trial spent; nothing where it was not trained itself.

    Args:
        trials: all trials of the study, in the order of their numbers.
        trial: one of them.
        n_train: training rows; None: GFLOPs are those of a single row.
    """
    if "same_as" in trial.user_attrs:
        return Spent(epochs=0.0, seconds=0.0, gflops=0.0)
    epochs, seconds = _in_all(trial)
    earlier = trial.user_attrs.get(RESUMES)
    if earlier is not None:
        done, took = _in_all(trials[int(earlier)])
        if epochs > done:  # else its state was gone, so that it began anew
            epochs, seconds = epochs - done, max(seconds - took, 0.0)
    return Spent(epochs=epochs, seconds=seconds, gflops=_gflops(trial, epochs, n_train))


def saved_by(trial: FrozenTrial, n_epochs: int, n_train: int | None) -> Spent:
    """Return what a trial would have spent on the epochs up to `n_epochs` that it was spared."""
    epochs, seconds = _in_all(trial)
    left = max(n_epochs - epochs, 0.0)
    pace = seconds / epochs if epochs else 0.0
    return Spent(epochs=left, seconds=left * pace, gflops=_gflops(trial, left, n_train))


def _in_all(trial: FrozenTrial) -> tuple[float, float]:
    history = trial.user_attrs.get("history") or [{"epoch": 0.0}]
    seconds = trial.user_attrs.get("metrics", {}).get("train_s", 0.0)
    return float(history[-1]["epoch"]), float(seconds)


def _gflops(trial: FrozenTrial, epochs: float, n_train: int | None) -> float:
    a_row = float(trial.user_attrs.get("metrics", {}).get("training_gflops", 0.0))
    return a_row * epochs * (n_train or 1)
