"""Confirm results made up, in a stored study, as `paradapt confirm` leaves them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import optuna
from optuna.trial import FrozenTrial

from search.confirmed import CONFIRM, PREFIX, ConfirmedRun
from tests.search.finished_study import DIRECTIONS, finished_trials

N_ROWS = 400
ACCURACIES = {
    "trial-5": 0.80,
    "trial-7": 0.78,
    "head_only": 0.68,
    "lora_all": 0.785,
    "bottleneck_all": 0.77,
    "full_fine_tuning": 0.81,
    "tfidf": 0.65,
}
TITLES = {
    "head_only": "head only",
    "lora_all": "LoRA in all layers",
    "bottleneck_all": "bottleneck in all layers",
    "full_fine_tuning": "full fine-tuning",
    "tfidf": "TF-IDF and logistic regression",
}
"""Of the baselines and references, as they stand in the storage."""
TRIALS = {"head_only": 0, "lora_all": 1, "bottleneck_all": 2}


def memory_study(trials: Sequence[FrozenTrial] | None = None) -> optuna.Study:
    """The study of tests/search/finished_study.py in memory, which takes no time to make."""
    study = optuna.create_study(study_name="quickstart", directions=DIRECTIONS)
    study.add_trials(finished_trials() if trials is None else trials)
    return study


def put_confirmed(
    stored: optuna.Study,
    accuracies: Mapping[str, float] = ACCURACIES,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    marks: Mapping[str, tuple[str, ...]] | None = None,
    n_rows: int = N_ROWS,
) -> None:
    """Store trainings whose rows are right about as often as `accuracies` says.

    Keys are `trial-N` or a baseline's name. Hard rows are hard for all of them.

    Args:
        stored: a study, such as tests/search/finished_study.py makes.
        accuracies: for each key how often a row is right.
        seeds: of the trainings.
        marks: for each chosen key why it was; absent: the first trial is the knee, all other
            trials are the most accurate ones.
        n_rows: of the test split.
    """
    trials = [key for key in accuracies if key.startswith("trial-")]
    if marks is None:
        marks = dict.fromkeys(trials, ("most accurate",)) | dict.fromkeys(trials[:1], ("knee",))
    draw = numpy.random.default_rng(0)
    label = draw.integers(3, size=n_rows).astype(numpy.uint8)
    hardness = draw.random(n_rows)
    for key, accuracy in accuracies.items():
        for seed in seeds:
            # Nine rows of ten are as hard as they are for all, the others are hard by chance.
            own = numpy.where(draw.random(n_rows) < 0.9, hardness, draw.random(n_rows))
            answer = numpy.where(own < accuracy, label, (label + 1) % 3).astype(numpy.uint8)
            run = ConfirmedRun(
                key=key,
                seed=seed,
                metrics=_metrics(key, float((answer == label).mean()), seed),
                outcomes={"answer": answer, "label": label},
            )
            stored.set_user_attr(f"{PREFIX}{key}.{seed}", {**run.to_json(), "contract": "made-up"})
    stored.set_user_attr(
        CONFIRM,
        {
            "contract": "made-up",
            "metric": "accuracy",
            "n_train": 2000,
            "n_test": n_rows,
            "seeds": list(seeds),
            "points": {key: _about(key, accuracies[key], marks.get(key, ())) for key in accuracies},
        },
    )


def _metrics(key: str, accuracy: float, seed: int) -> dict[str, float]:
    costs = {"train_s": 40.0 + seed, "peak_memory_mib": 700.0}
    if key != "tfidf":
        whole = key == "full_fine_tuning"
        costs |= {
            "latency_ms": 9.0 + 0.1 * seed,
            "latency_ratio": 1.02,
            "throughput": 310.0 + seed,
            "inference_gflops": 0.42,
            "training_gflops": 1.26 if whole else 0.8,
            "trainable_params": 22_000_000.0 if whole else 120_000.0,
            "adapter_mib": 84.0 if whole else 0.5,
        }
    return {"accuracy": accuracy, "macro_f1": accuracy - 0.02, "test_loss": 1 - accuracy} | costs


def _about(key: str, accuracy: float, marks: tuple[str, ...]) -> dict[str, Any]:
    is_trial = key.startswith("trial-")
    trial = int(key.removeprefix("trial-")) if is_trial else TRIALS.get(key)
    return {
        "title": key.replace("-", " ") if is_trial else TITLES[key],
        "trial": trial,
        "baseline": None if is_trial else key,
        "marks": list(marks),
        "search_score": None if trial is None else accuracy + (0.02 if is_trial else 0.005),
        "structure": "" if trial is None else "depth 6, mean",
    }
