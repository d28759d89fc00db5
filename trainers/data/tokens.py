"""Texts as token ids: made once a study and shared by all of its trials.

`B` batch, `N` tokens of the longest row in the batch.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainers.data.batch import Batch, Rows
from trainers.data.dataset import Split
from trainers.tasks import IGNORED, Task

_CHUNK_TEXTS = 2048

Ids = NDArray[numpy.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """Rows of token ids, end to end: row i is `ids[offsets[i] : offsets[i + 1]]`."""

    ids: Ids
    """Shape (tokens of all rows,)."""
    type_ids: Ids | None
    """The same shape: which of two texts a token is of; None where there is one."""
    offsets: NDArray[numpy.int64]
    """Shape (rows + 1,)."""
    labels: NDArray[Any]
    """One a row, or one a token (`per_token`)."""
    per_token: bool
    pad_id: int
    """The id that fills short rows."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """Shape (rows,): tokens of each row."""
        return numpy.diff(self.offsets)

    def collate(self, rows: Sequence[int] | Rows) -> Batch:
        """Build the batch of these rows, padded on the right to the longest of them."""
        index = numpy.asarray(rows, dtype=numpy.int64)
        starts = self.offsets[index]
        lengths = self.offsets[index + 1] - starts
        columns = numpy.arange(lengths.max())
        mask = columns < lengths[:, None]  # (B, N)
        # Padding reads past its row's end: any valid position will do, as it is replaced.
        positions = numpy.minimum(starts[:, None] + columns, len(self.ids) - 1)

        def padded(flat: NDArray[Any], filling: int) -> Tensor:
            values = numpy.where(mask, flat[positions], filling)
            return torch.from_numpy(values.astype(numpy.int64, copy=False))

        inputs = {
            "input_ids": padded(self.ids, self.pad_id),
            "attention_mask": torch.from_numpy(mask.astype(numpy.int64)),
        }
        if self.type_ids is not None:
            inputs["token_type_ids"] = padded(self.type_ids, 0)
        if self.per_token:
            return Batch(inputs=inputs, labels=padded(self.labels, IGNORED))
        return Batch(inputs=inputs, labels=torch.from_numpy(self.labels[index]))


def tokenize(
    split: Split, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TokenTable:
    """Tokenise each row, cut at `max_length` tokens with the special tokens counted.

    Labels of tokens: a word's tag stands at its first piece, and all else is not scored; where the
    next token is learned, a token is its own label.
    """
    ids: list[Ids] = []
    types: list[Ids] = []
    labels: list[NDArray[numpy.int64]] = []
    for rows, encoding in _encodings(split, task, tokenizer, max_length):
        ids.extend(numpy.array(row, dtype=numpy.int32) for row in encoding["input_ids"])
        if "token_type_ids" in encoding:
            types.extend(numpy.array(row, numpy.int32) for row in encoding["token_type_ids"])
        if task.labels == "tags":
            labels.extend(
                _tags_of_pieces(encoding.word_ids(place), split.labels[row])
                for place, row in enumerate(rows)
            )
    offsets = numpy.zeros(len(ids) + 1, dtype=numpy.int64)
    numpy.cumsum([len(row) for row in ids], out=offsets[1:])
    own_labels: Any = split.labels
    if task.labels == "tags":
        own_labels = numpy.concatenate([numpy.empty(0, numpy.int64), *labels])
    flat = numpy.concatenate([numpy.empty(0, numpy.int32), *ids])
    return TokenTable(
        ids=flat,
        type_ids=numpy.concatenate(types) if types else None,
        offsets=offsets,
        labels=flat.astype(numpy.int64) if task.labels == "none" else own_labels,
        per_token=task.labels in ("tags", "none"),
        pad_id=tokenizer.pad_token_id or 0,
    )


def _encodings(
    split: Split, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[tuple[range, Any]]:
    """Yield rows with their encoding, chunk by chunk."""
    columns = [split.inputs[name] for name in task.inputs]
    pairs = len(columns) > 1
    for start in range(0, len(split), _CHUNK_TEXTS):
        rows = range(start, min(start + _CHUNK_TEXTS, len(split)))
        texts = [
            [
                list(value) if isinstance(value, tuple) else value
                for value in column[start : rows.stop]
            ]
            for column in columns
        ]
        yield (
            rows,
            tokenizer(
                *texts,
                truncation="longest_first" if pairs else True,
                max_length=max_length,
                padding=False,
                is_split_into_words=task.inputs == ("words",),
                return_attention_mask=False,
                return_token_type_ids=pairs and "token_type_ids" in tokenizer.model_input_names,
            ),
        )


def _tags_of_pieces(
    words: Sequence[int | None], tags: NDArray[numpy.int64]
) -> NDArray[numpy.int64]:
    """Return the label of each piece: its word's tag where it is the first piece of it."""
    labels = numpy.full(len(words), IGNORED, dtype=numpy.int64)
    for place, (before, word) in enumerate(itertools.pairwise([None, *words])):
        if word is not None and word != before:
            labels[place] = tags[word]
    return labels
