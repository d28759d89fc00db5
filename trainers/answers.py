"""What a bundle answers for a chunk of rows: the columns that prediction adds, for each task.

Shapes: `B` batch, `N` tokens, `C` outputs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.bundle import LoadedBundle
from trainers.data import Table, encode, sorted_batches, unlabelled
from trainers.early_exit import EarlyExit
from trainers.entities import OUTSIDE
from trainers.model import AdaptedModel, deploy
from trainers.tasks import IGNORED, next_token_sums

BATCH_SIZE = 64

Columns = dict[str, Any]
"""Name of an added column -> its values, one a row."""


def answers_for(bundle: LoadedBundle, inputs: Mapping[str, Sequence[Any]]) -> Columns:
    """Return the columns that prediction adds to these rows.

    class: prediction and probability_<label>; classes: the same, the labels of a row joined by the
    study's separator; number: prediction; tags: prediction, a JSON list with one tag a word; none:
    n_tokens, log_likelihood (nats) and perplexity. With early exits also exit_depth: how many
    blocks ran.

    Args:
        bundle: a trained structure.
        inputs: for each input of its task the values.
    """
    task = bundle.config.what
    table = encode(unlabelled(task, inputs), task, bundle.backbone, bundle.config.max_length)
    model = deploy(bundle.model, bundle.backbone)
    if task.labels == "tags":
        return _tags(bundle, model, table, inputs["words"])
    if task.labels == "none":
        return _likelihoods(model, table)
    logits, depths = _row_answers(bundle, model, table)
    return {**_named(bundle, logits), **({} if depths is None else {"exit_depth": depths})}


def added_columns(bundle: LoadedBundle) -> list[str]:
    """Return the names of the columns that prediction adds."""
    task = bundle.config.what
    if task.labels == "none":
        return ["n_tokens", "log_likelihood", "perplexity"]
    names = ["prediction"]
    if task.labels in ("class", "classes"):
        names += [f"probability_{label}" for label in bundle.config.labels]
    return [*names, *(["exit_depth"] if _leaves_early(bundle) else [])]


def _leaves_early(bundle: LoadedBundle) -> bool:
    return bool(bundle.config.spec.exits) and bundle.config.exit_threshold is not None


def _each_batch(
    table: Table, act: Callable[[NDArray[numpy.int64], dict[str, Tensor], Tensor], None]
) -> None:
    with torch.inference_mode():
        for rows in sorted_batches(table.lengths, BATCH_SIZE):
            batch = table.collate(rows)
            act(rows, batch.inputs, batch.labels)


def _row_answers(
    bundle: LoadedBundle, model: AdaptedModel, table: Table
) -> tuple[NDArray[numpy.float64], list[int] | None]:
    """Return logits (rows, C) and, with early exits, how many blocks ran for each row."""
    logits = numpy.zeros((len(table), model.n_outputs))
    depths = numpy.full(len(table), model.spec.depth)
    behind = numpy.array([*model.spec.exits, model.spec.depth])
    early = None
    if _leaves_early(bundle):
        threshold = bundle.config.exit_threshold
        assert threshold is not None
        early = EarlyExit(model, threshold, multi_label=bundle.config.what.multi_label)

    def act(rows: NDArray[numpy.int64], inputs: dict[str, Tensor], _labels: Tensor) -> None:
        if early is None:
            logits[rows] = model(**inputs).double().numpy()
        else:
            own, taken = early(**inputs)
            logits[rows], depths[rows] = own.double().numpy(), behind[taken.numpy()]

    _each_batch(table, act)
    return logits, None if early is None else depths.tolist()


def _named(bundle: LoadedBundle, logits: NDArray[numpy.float64]) -> Columns:
    task, labels, scale = bundle.config.what, bundle.config.labels, bundle.config.scale
    if task.labels == "number":
        assert scale is not None
        return {"prediction": (logits[:, 0] * scale.std + scale.mean).round(6)}
    answers = torch.from_numpy(logits)
    if task.multi_label:
        shares = answers.sigmoid().numpy()
        separator = bundle.config.columns.label_separator or ""
        held = [separator.join(labels[i] for i in numpy.flatnonzero(row >= 0.5)) for row in shares]
        columns: Columns = {"prediction": held}
    else:
        shares = answers.softmax(-1).numpy()
        columns = {"prediction": [labels[i] for i in shares.argmax(1)]}
    return columns | {
        f"probability_{label}": shares[:, i].round(6) for i, label in enumerate(labels)
    }


def _tags(
    bundle: LoadedBundle, model: AdaptedModel, table: Table, words: Sequence[Sequence[str]]
) -> Columns:
    labels = bundle.config.labels
    tags: list[list[str]] = [[] for _ in words]

    def act(rows: NDArray[numpy.int64], inputs: dict[str, Tensor], scored: Tensor) -> None:
        best = model(**inputs).argmax(-1)
        for row, own, kept in zip(rows, best, scored != IGNORED, strict=True):
            tags[row] = [labels[tag] for tag in own[kept].tolist()]

    _each_batch(table, act)
    # Words behind the greatest length were not read.
    whole = [own + [OUTSIDE] * (len(row) - len(own)) for own, row in zip(tags, words, strict=True)]
    return {"prediction": [json.dumps(row, ensure_ascii=False) for row in whole]}


def _likelihoods(model: AdaptedModel, table: Table) -> Columns:
    likelihood = numpy.zeros(len(table))

    def act(rows: NDArray[numpy.int64], inputs: dict[str, Tensor], labels: Tensor) -> None:
        logits = model(**inputs)
        for place, row in enumerate(rows):
            total, _ = next_token_sums(logits[place : place + 1], labels[place : place + 1])
            likelihood[row] = -float(total)

    _each_batch(table, act)
    n_guessed = numpy.maximum(table.lengths - 1, 1)
    return {
        "n_tokens": table.lengths,
        "log_likelihood": likelihood.round(6),
        "perplexity": numpy.exp(-likelihood / n_guessed).round(6),
    }
