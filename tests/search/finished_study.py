"""A finished study as the search leaves it in Optuna's storage, made without training."""

import math
import random
import tempfile
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.mlflow_client import new_client
from search.snapshot import StudySnapshot
from space.adapter import Adapter
from space.spec import POOLINGS, AdapterSpec

OBJECTIVES = ("accuracy", "inference_gflops")
DIRECTIONS = ("maximize", "minimize")
START = datetime(2025, 11, 24, 9, 0, 0)


def trial_of(
    values: Sequence[float] | None,
    *,
    spec: AdapterSpec | None = None,
    end: str = "complete",
    metrics: dict[str, float] | None = None,
    n_epochs: int = 3,
    params: dict[str, Any] | None = None,
    learning_rate: float = 1e-3,
    number: int = 0,
    **attrs: Any,
) -> FrozenTrial:
    """One finished trial with the attributes that the search stores."""
    spec = spec or AdapterSpec(depth=6)
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    start = START + timedelta(minutes=number)
    history = [
        {
            "epoch": epoch,
            "time_ms": int((start + timedelta(seconds=10 * epoch)).timestamp() * 1000),
            "accuracy": 0.4 + 0.1 * epoch,
            "macro_f1": 0.35 + 0.1 * epoch,
            "validation_loss": 1.0 / epoch,
            "train_loss": 0.9 / epoch,
            "seconds": 9.5,
        }
        for epoch in range(1, n_epochs + 1)
    ]
    params = {"depth": spec.depth, "pooling": spec.pooling, "learning_rate": learning_rate} | (
        params or {}
    )
    kinds = {
        "depth": IntDistribution(1, 48),
        "learning_rate": FloatDistribution(1e-5, 1e-1),
        "pooling": CategoricalDistribution(POOLINGS),
    }
    trial = create_trial(
        state=states.get(end, TrialState.FAIL),
        values=values if end == "complete" else None,
        params=params,
        distributions={
            name: kinds.get(name)
            or CategoricalDistribution(POOLINGS if name == "pooling" else [value])
            for name, value in params.items()
        },
        user_attrs={
            "spec": spec.to_json(),
            "learning": {"learning_rate": learning_rate},
            "metrics": metrics or {},
            "history": history,
            "end": end,
        }
        | attrs,
    )
    trial.number = number
    trial.datetime_start = start
    trial.datetime_complete = start + timedelta(seconds=10 * n_epochs + 5)
    return trial


def _spec(draw: random.Random) -> AdapterSpec:
    depth = draw.choice([3, 4, 5, 6])
    first = draw.randrange(depth)
    kind = draw.choice(["lora", "bottleneck"])
    role = {"lora": draw.choice(["query", "value"]), "bottleneck": "ffn"}[kind]
    rank = draw.choice([2, 4, 8, 16])
    alpha = 2.0 * rank if kind == "lora" else None
    adapters = tuple(
        Adapter(layer=layer, role=role, kind=kind, rank=rank, alpha=alpha)
        for layer in range(first, depth)
    )
    return AdapterSpec(depth=depth, adapters=adapters, pooling=draw.choice(["mean", "cls"]))


def at_rung(*values: float) -> dict[str, float]:
    """What stands at a rung of a trial that had these values of one to three objectives there."""
    names = (*OBJECTIVES, "trainable_params")[: len(values)]
    return {"validation_loss": 1.0, **dict(zip(names, values, strict=True))}


def finished_trials(n_trials: int = 24, seed: int = 0, n_objectives: int = 2) -> list[FrozenTrial]:
    """Baselines, complete, pruned, failed and repeated trials that look like a real study."""
    draw = random.Random(seed)
    trials: list[FrozenTrial] = []
    baselines = ["head_only", "lora_all", "bottleneck_all"]
    for number in range(n_trials):
        spec = AdapterSpec(depth=6) if number == 0 else _spec(draw)
        cost = spec.depth / 6 * 0.42 + 0.012 * len(spec.adapters) * draw.random()
        quality = 0.62 + 0.22 * (1 - math.exp(-6 * (cost - 0.15))) - 0.08 * draw.random()
        values = [round(quality, 4), round(cost, 4), 20_000.0 + 9_000 * len(spec.adapters)]
        metrics = {
            "accuracy": values[0],
            "macro_f1": round(values[0] - 0.03, 4),
            "inference_gflops": values[1],
            "trainable_params": values[2],
            "training_gflops": round(2.1 * values[1], 4),
            "train_s": round(20 + 60 * draw.random(), 1),
            "peak_memory_mib": 512.0,
        }
        attrs: dict[str, Any] = {"learning_rate": 10 ** draw.uniform(-4, -2)}
        end = "complete"
        if number < len(baselines):
            attrs["baseline"] = baselines[number]
        elif number % 3 == 0:
            end = "pruned"
            rung = [round(values[0] - 0.1, 4), *values[1:]]
            attrs |= {"rung.1": at_rung(*rung[:n_objectives]), "reason": "rank 5 of 9 at rung 1"}
            attrs["n_epochs"] = 1
        elif number == 10:
            end = "failed"
            attrs["reason"] = "the loss is not finite at epoch 1"
        trial = trial_of(
            values[:n_objectives], spec=spec, end=end, metrics=metrics, number=number, **attrs
        )
        trials.append(trial)
    return trials


def finished_study(folder: Path, trials: Sequence[FrozenTrial] | None = None) -> optuna.Study:
    """The trials in a SQLite storage in `folder`, read back as a study named `quickstart`."""
    study = optuna.create_study(
        study_name="quickstart",
        storage=f"sqlite:///{folder / 'paradapt.db'}",
        directions=DIRECTIONS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(OBJECTIVES))
    study.add_trials(finished_trials() if trials is None else trials)
    return study


def snapshot_of(trials: Sequence[FrozenTrial], **changes: Any) -> StudySnapshot:
    """A snapshot of the trials under the study's usual name and file."""
    fields: dict[str, Any] = {
        "study_name": "quickstart",
        "names": OBJECTIVES,
        "directions": tuple(StudyDirection[name.upper()] for name in DIRECTIONS),
        "trials": tuple(trials),
        "study_yaml": "name: quickstart\ntask: text-classification\n",
        "params": {"task": "text-classification", "backbone": "minilm", "seed": 0},
        "status": "finished",
        "question": "Which adapters give most accuracy for their compute?",
        "next_commands": ("paradapt export study.yaml --select knee --output best",),
        "n_epochs": 3,
        "n_train": 3000,
    }
    return StudySnapshot(**fields | changes)


@cache
def _empty_store() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "mlflow.db")
        new_client(f"sqlite:///{database}")
        return database.read_bytes()


def tracking_store(folder: Path) -> str:
    """The URI of a new SQLite tracking store in `folder`; MLflow takes 5 s to make one itself."""
    database = folder / "mlflow.db"
    database.write_bytes(_empty_store())
    return f"sqlite:///{database}"
