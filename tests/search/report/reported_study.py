"""Studies to report on: made up in a storage, with a study file beside it that names it."""

import random
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
import yaml
from optuna.trial import FrozenTrial

from search.study_file import StudySpec, load_study_file
from tests.search.confirmed_study import put_confirmed
from tests.search.finished_study import DIRECTIONS, OBJECTIVES, finished_study, finished_trials

COSTS = {
    "currency": "EUR",
    "machine_hour": 0.5,
    "watts": 120,
    "electricity_kwh": 0.3,
    "carbon_g_kwh": 350,
    "requests_day": 250_000,
}


def write_file(folder: Path, **changes: object) -> Path:
    """Write a study file for the study that `finished_study` makes; None drops a key."""
    content = {
        "name": "quickstart",
        "task": "text-classification",
        "backbone": "minilm",
        "data": {"train": "rows.csv", "max_length": 48},
        "objectives": [{"maximize": "accuracy"}, {"minimize": "inference_gflops"}],
        "storage": "sqlite:///paradapt.db",
        "costs": COSTS,
    } | changes
    path = folder / "study.yaml"
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return path


def measured_trials(n_trials: int = 30) -> list[FrozenTrial]:
    """Trials as a real search leaves them, with every metric that is measured."""
    draw = random.Random(1)
    trials = finished_trials(n_trials)
    for trial in trials:
        metrics = trial.user_attrs["metrics"]
        ratio = round(0.4 + 0.6 * draw.random(), 3)
        metrics |= {
            "latency_ratio": ratio,
            # The machine is not equally fast during all trials.
            "latency_ms": round(ratio * (11 + 4 * draw.random()), 3),
            "adapter_mib": round(metrics["trainable_params"] * 4 / 2**20, 4),
        }
    return trials


def in_memory(
    trials: Sequence[FrozenTrial],
    names: Sequence[str] = OBJECTIVES,
    directions: Sequence[str] = DIRECTIONS,
) -> optuna.Study:
    """Return a study of trials without a database, which takes seconds to be made."""
    study = optuna.create_study(study_name="quickstart", directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))
    study.add_trials(trials)
    return study


def stored_study(folder: Path | None = None, *, confirmed: bool = False) -> optuna.Study:
    """Return a study of 30 trials, in a database where a folder is given.

    With confirmed results where wanted.
    """
    trials = measured_trials()
    study = in_memory(trials) if folder is None else finished_study(folder, trials)
    params = {"n_train": 2000, "n_validation": 500}
    classes = {"a": 1200, "b 2": 500, "c": 300}
    study.set_user_attr("facts", {"params": params, "datasets": [{"classes": classes}]})
    study.set_user_attr("labels", ["a", "b", "c"])
    study.set_user_attr("environment", {"python": "3.11.7", "torch": "2.13.0", "gpu": None})
    study.set_user_attr(
        "contract",
        {
            "task": "text-classification",
            "backbone": "minilm a0c656ee496409692ecc1e819980bad2",
            "data": "c9824074f90a7546ae0969d03f330e88",
            "objectives": [{"maximize": "accuracy"}, {"minimize": "inference_gflops"}],
            "seed": 0,
        },
    )
    if confirmed:
        put_confirmed(study)
    return study


def study_in(folder: Path, **changes: object) -> StudySpec:
    """Return the checked study file."""
    return load_study_file(write_file(folder, **changes))
