"""What a search found its data and its machine to be, kept with the study for all that show it."""

from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from search.context import StudyContext
from search.environment import environment
from trainers.data.dataset import Split
from trainers.data.fingerprint import fingerprint


def facts_of(context: StudyContext) -> dict[str, Any]:
    """Return `params`, what the parent run shows, and `datasets`, one entry for each side."""
    study = context.study
    params = {
        "task": study.task,
        "backbone": study.backbone,
        "backbone_fingerprint": context.backbone.fingerprint,
        "data_fingerprint": context.data.fingerprint,
        "n_train": len(context.train),
        "n_validation": len(context.validation),
        "n_outputs": context.n_outputs,
        "tokens_mean": round(context.tokens.mean, 2),
        "objectives": ", ".join(
            f"{way} {name}" for o in study.objectives for way, name in o.items()
        ),
        "constraints": ", ".join(bound.describe() for bound in study.bounds) or "none",
        "sampler": study.sampler,
        "pruner": study.pruner,
        "trials": study.budget.trials,
        "epochs": study.budget.epochs,
        "seed": study.seed,
        "precision": context.engine.precision,
        "attention": context.engine.attention,
        **{f"version.{name}": value for name, value in environment().items()},
    }
    data = study.data
    places = {"train": data.train or data.source, "validation": data.validation}
    datasets = [
        {
            "name": _name(places[side] or places["train"]),
            "context": side,
            "fingerprint": fingerprint(
                [(split.inputs, split.labels)], context.data.labels, context.data.scale
            ),
            "n_rows": len(split),
            "source": places[side] or f"a share of {places['train']}",
            "classes": _classes(context, split),
        }
        for side, split in (("train", context.data.train), ("validation", context.data.validation))
    ]
    return {"params": params, "datasets": datasets}


def _name(place: str | None) -> str:
    return Path(place or "data").stem


def _classes(context: StudyContext, split: Split) -> dict[str, int]:
    """Rows of each class; none where rows have no single one."""
    if context.task.labels != "class":
        return {}
    labels: NDArray[numpy.int64] = split.labels
    counts = numpy.bincount(labels, minlength=len(context.data.labels))
    return {name: int(n) for name, n in zip(context.data.labels, counts, strict=True)}
