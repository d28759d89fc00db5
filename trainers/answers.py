"""What a bundle answers for a chunk of rows: the columns that prediction adds, for each task.

Shapes: `B` batch, `N` tokens, `C` outputs, `V` vocabulary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.bundle import BundleConfig, LoadedBundle
from trainers.data import Batch, Table, encode, sorted_batches, unlabelled
from trainers.early_exit import EarlyExit
from trainers.losses import next_token_sums
from trainers.model import AdaptedModel, deploy
from trainers.tasks import IGNORED

BATCH_SIZE = 64
MAX_LOGITS = 2**26
"""How many logits of a language model are held at once: 256 MiB."""

Columns = dict[str, list[Any]]
"""Name of an added column -> its values, one a row."""
Inputs = Mapping[str, Sequence[Any]]
"""For each input of the task its values, one a row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Deployed:
    """A bundle in the form that answers: what can be merged is merged, once for all chunks."""

    bundle: LoadedBundle
    run: Callable[[Batch], tuple[Tensor, Columns]]
    """Gives the logits of a batch, and the column of its exits if there are any."""


def deployed(bundle: LoadedBundle) -> Deployed:
    """Return the bundle in the form that answers; the bundle is left as it is."""
    return Deployed(bundle=bundle, run=_runner(bundle, deploy(bundle.model, bundle.backbone)))


def answers_for(bundle: LoadedBundle, inputs: Inputs) -> Columns:
    """Return the columns that prediction adds to these rows.

    - class: prediction, and probability_<label> for each label;
    - classes: the same, prediction being the labels whose probability is above one half, joined by
      the study's separator;
    - number: prediction, in the units of the study's data;
    - tags: prediction, the list of tags of the words; None for a word that was not read, as its row
      was cut before it or the tokenizer makes nothing of it;
    - none: n_tokens, log_likelihood (the sum, in nats, over all tokens but the first, which follows
      none) and perplexity (its mean's exponential; NaN where there is a single token).

    With early exits also exit_depth: how many blocks ran. A row of which the tokenizer makes no
    token at all has None.

    Args:
        bundle: a trained structure.
        inputs: what the rows hold.
    """
    return answers(deployed(bundle), inputs, encoded(bundle, inputs))


def encoded(bundle: LoadedBundle, inputs: Inputs) -> Table:
    """Return rows as the backbone reads them; the model is not needed for this."""
    config = bundle.config
    return encode(unlabelled(config.what, inputs), config.what, bundle.backbone, config.max_length)


@torch.inference_mode()
def answers(
    model: Deployed,
    inputs: Inputs,
    table: Table,
    told: Callable[[int], None] = lambda _: None,
) -> Columns:
    """Return the columns of answers_for; rows of like length run together.

    Args:
        model: the bundle that answers.
        inputs: what the rows hold.
        table: the same, as `encoded` returns them.
        told: is told after each batch how many rows are answered for.
    """
    bundle = model.bundle
    answer = _ANSWERS[bundle.config.what.labels]
    columns = _unanswered(bundle, inputs, len(table))
    readable = numpy.flatnonzero(table.lengths)
    n_done = len(table) - len(readable)
    for places in sorted_batches(table.lengths[readable], batch_size_of(bundle, table)):
        rows = readable[places]
        batch = table.collate(rows)
        logits, exits = model.run(batch)
        own = {name: [values[row] for row in rows] for name, values in inputs.items()}
        for name, values in (answer(bundle.config, own, batch, logits) | exits).items():
            column = columns[name]
            for row, value in zip(rows.tolist(), values, strict=True):
                column[row] = value
        n_done += len(rows)
        told(n_done)
    return columns


def _unanswered(bundle: LoadedBundle, inputs: Inputs, n_rows: int) -> Columns:
    """Return the columns as they are for rows without a token."""
    columns: Columns = {name: [None] * n_rows for name in added_columns(bundle)}
    labels = bundle.config.what.labels
    if labels == "tags":
        columns["prediction"] = [[None] * len(words) for words in inputs["words"]]
    elif labels == "none":
        columns["n_tokens"] = [0] * n_rows
    return columns


def added_columns(bundle: LoadedBundle) -> dict[str, str]:
    """Return name and kind of the columns that prediction adds.

    Kinds are text, number (a float), count (an integer) and tags (a list of texts).
    """
    task = bundle.config.what
    if task.labels == "none":
        return {"n_tokens": "count", "log_likelihood": "number", "perplexity": "number"}
    columns = {"prediction": {"number": "number", "tags": "tags"}.get(task.labels, "text")}
    if task.labels in ("class", "classes"):
        columns |= {f"probability_{label}": "number" for label in bundle.config.labels}
    if bundle.config.exit_threshold is not None:
        columns["exit_depth"] = "count"
    return columns


def batch_size_of(bundle: LoadedBundle, table: Table) -> int:
    """Return how many rows run together: fewer where their answers would fill the memory."""
    if bundle.config.what.head != "lm":
        return BATCH_SIZE
    a_row = int(table.lengths.max(initial=1)) * bundle.model.n_outputs
    return max(1, min(BATCH_SIZE, MAX_LOGITS // a_row))


def _runner(bundle: LoadedBundle, model: AdaptedModel) -> Callable[[Batch], tuple[Tensor, Columns]]:
    """Return what gives the logits of a batch, and the column of its exits if there are any."""
    config = bundle.config
    if config.exit_threshold is None:
        return lambda batch: (model(**batch.inputs), {})
    early = EarlyExit(model, config.exit_threshold, multi_label=config.what.multi_label)
    depths = torch.tensor([*config.spec.exits, config.spec.depth])

    def run(batch: Batch) -> tuple[Tensor, Columns]:
        logits, exits = early(**batch.inputs)
        return logits, {"exit_depth": depths[exits].tolist()}

    return run


def _label(config: BundleConfig, own: Inputs, batch: Batch, logits: Tensor) -> Columns:
    shares = logits.double().softmax(-1)  # (B, C)
    best = [config.labels[place] for place in shares.argmax(-1).tolist()]
    return {"prediction": best, **_probabilities(config, shares)}


def _labels(config: BundleConfig, own: Inputs, batch: Batch, logits: Tensor) -> Columns:
    separator = config.columns.label_separator
    assert separator is not None
    held = [
        separator.join(label for label, holds in zip(config.labels, row, strict=True) if holds)
        for row in (logits > 0).tolist()
    ]
    return {"prediction": held, **_probabilities(config, logits.double().sigmoid())}


def _probabilities(config: BundleConfig, shares: Tensor) -> Columns:
    rounded: NDArray[numpy.float64] = shares.numpy().round(6)
    return {f"probability_{label}": rounded[:, i].tolist() for i, label in enumerate(config.labels)}


def _number(config: BundleConfig, own: Inputs, batch: Batch, logits: Tensor) -> Columns:
    assert config.scale is not None
    numbers = logits.squeeze(-1).double() * config.scale.std + config.scale.mean  # (B,)
    return {"prediction": [_seven_digits(number) for number in numbers.tolist()]}


def _tags(config: BundleConfig, own: Inputs, batch: Batch, logits: Tensor) -> Columns:
    answers = []
    for words, numbers, best in zip(own["words"], batch.labels, logits.argmax(-1), strict=True):
        tags: list[str | None] = [None] * len(words)
        first_pieces = numbers != IGNORED
        own_tags = best[first_pieces].tolist()
        for word, tag in zip(numbers[first_pieces].tolist(), own_tags, strict=True):
            tags[word] = config.labels[tag]
        answers.append(tags)
    return {"prediction": answers}


def _likelihoods(config: BundleConfig, own: Inputs, batch: Batch, logits: Tensor) -> Columns:
    lengths = (batch.labels != IGNORED).sum(1).tolist()
    # Row by row, as each has a sum of its own.
    rows = zip(logits.unsqueeze(1), batch.labels.unsqueeze(1), strict=True)
    sums = [-next_token_sums(row, labels)[0].item() for row, labels in rows]
    return {
        "n_tokens": lengths,
        "log_likelihood": [_seven_digits(total) for total in sums],
        "perplexity": [
            _seven_digits(math.exp(-total / (n - 1))) if n > 1 else math.nan
            for total, n in zip(sums, lengths, strict=True)
        ],
    }


def _seven_digits(number: float) -> float:
    # What is beyond them is no part of a number that was reckoned in float32.
    return float(f"{number:.7g}")


_ANSWERS: Mapping[str, Callable[[BundleConfig, Inputs, Batch, Tensor], Columns]] = {
    "class": _label,
    "classes": _labels,
    "number": _number,
    "tags": _tags,
    "none": _likelihoods,
}
"""By the kind of a task's labels: (config, the batch's own inputs, batch, logits) -> columns."""
