"""What a model answered for each row, in the few numbers that a task's metrics are made of.

They are kept for the test split, so that rows can be drawn anew later (see search/row_sums.py)
without the model.

Shapes: `B` batch, `N` tokens, `C` labels, `V` vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.scale import TargetScale
from trainers.entities import entities
from trainers.losses import next_token_sums
from trainers.tasks import IGNORED, Task

Outcomes = dict[str, NDArray[Any]]
"""Name -> a number for each row, shape (rows,)."""


def outcomes_of(
    task: Task,
    labels: Sequence[str],
    scale: TargetScale | None,
    logits: Tensor,
    truth: Tensor,
) -> Outcomes:
    """Return the outcomes of a batch.

    - class: `answer` and `label`, places in `labels`;
    - classes: `right`, `added` and `missed` labels of the row, and whether `all_right`;
    - number: `answer` and `label`, in the units of the user's data;
    - tags: `entities_right`, `entities_answered`, `entities_true`, `tokens_right`, `tokens`;
    - none: the summed `loss` of the row's next tokens, `tokens_right`, `tokens`.

    Args:
        task: what is learned.
        labels: names of the labels, where the task has them.
        scale: of numbers, where they are learned.
        logits: as the model gives them.
        truth: as the batch holds them.
    """
    logits, truth = logits.float().cpu(), truth.cpu()
    if task.labels == "number":
        assert scale is not None
        own = logits.squeeze(-1).double() * scale.std + scale.mean
        true = truth.double() * scale.std + scale.mean
        return {"answer": own.numpy(), "label": true.numpy()}
    if task.labels == "tags":
        return _tags(labels, logits, truth)
    return _BY_LABELS[task.labels](logits, truth)


def _class(logits: Tensor, truth: Tensor) -> Outcomes:
    kind = numpy.min_scalar_type(logits.shape[-1])
    return {
        "answer": logits.argmax(-1).numpy().astype(kind),
        "label": truth.numpy().astype(kind),
    }


def _classes(logits: Tensor, truth: Tensor) -> Outcomes:
    answered, true = logits > 0, truth > 0.5
    counts = {
        "right": (answered & true).sum(-1),
        "added": (answered & ~true).sum(-1),
        "missed": (~answered & true).sum(-1),
        "all_right": (answered == true).all(-1),
    }
    return {name: count.numpy().astype(numpy.uint16) for name, count in counts.items()}


def _tags(labels: Sequence[str], logits: Tensor, truth: Tensor) -> Outcomes:
    best, scored = logits.argmax(-1), truth != IGNORED
    counts: dict[str, list[int]] = {}
    for own, true, kept in zip(best, truth, scored, strict=True):
        found = entities([labels[tag] for tag in own[kept].tolist()])
        wanted = entities([labels[tag] for tag in true[kept].tolist()])
        row = {
            "entities_right": len(found & wanted),
            "entities_answered": len(found),
            "entities_true": len(wanted),
            "tokens_right": int((own == true)[kept].sum()),
            "tokens": int(kept.sum()),
        }
        for name, count in row.items():
            counts.setdefault(name, []).append(count)
    return {name: numpy.array(column, numpy.uint32) for name, column in counts.items()}


def _next_tokens(logits: Tensor, truth: Tensor) -> Outcomes:
    # Row by row, as each has a sum of its own.
    sums = [
        next_token_sums(row, labels)
        for row, labels in zip(logits.unsqueeze(1), truth.unsqueeze(1), strict=True)
    ]
    right = (logits.argmax(-1)[:, :-1] == truth[:, 1:]).sum(-1)
    return {
        "loss": numpy.array([float(total) for total, _ in sums], numpy.float32),
        "tokens_right": right.numpy().astype(numpy.uint32),
        "tokens": numpy.array([int(n) for _, n in sums], numpy.uint32),
    }


_BY_LABELS: Mapping[str, Callable[[Tensor, Tensor], Outcomes]] = {
    "class": _class,
    "classes": _classes,
    "none": _next_tokens,
}


def in_row_order(parts: Sequence[tuple[NDArray[numpy.int64], Outcomes]]) -> Outcomes:
    """Return the outcomes of all batches, in the order of the rows.

    Args:
        parts: for each batch its rows and their outcomes.
    """
    order = torch.from_numpy(numpy.concatenate([rows for rows, _ in parts])).argsort().numpy()
    return {
        name: numpy.concatenate([part[name] for _, part in parts])[order] for name in parts[0][1]
    }
