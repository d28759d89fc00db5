"""Texts as token ids: made once a study and shared by all of its trials.

`B` batch, `N` tokens of the longest row in the batch.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from space.errors import UserError
from trainers.data.batch import Batch, Rows
from trainers.data.dataset import Split
from trainers.data.notices import in_rows
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
    notices: tuple[str, ...] = ()
    """What the user should know of how the rows are read, a sentence or two each."""

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
    split: Split,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    type_ids: bool = True,
) -> TokenTable:
    """Tokenise each row, cut at `max_length` tokens with the special tokens counted.

    Labels of tokens: a word's tag stands at its first piece, and all else is not scored. Where the
    next token is learned, a token is its own label, and rows to learn from that have a single token
    are dropped.

    Args:
        split: texts, pairs of texts or words.
        task: what is learned.
        tokenizer: the backbone's.
        max_length: in tokens.
        type_ids: whether the backbone takes ids that tell two texts apart; made where the tokenizer
            makes them.

    Raises:
        UserError: `max_length` leaves no room, the tokenizer cannot tell words apart, or no row has
            a next token.
    """
    _check_room(tokenizer, max_length, pairs=len(task.inputs) > 1)
    ids: list[Ids] = []
    types: list[Ids] = []
    labels: list[NDArray[numpy.int64]] = []
    for rows, encoding in _encodings(split, task, tokenizer, max_length, type_ids):
        ids.extend(numpy.array(row, dtype=numpy.int32) for row in encoding["input_ids"])
        if "token_type_ids" in encoding:
            types.extend(numpy.array(row, numpy.int32) for row in encoding["token_type_ids"])
        if task.labels == "tags":
            labels.extend(
                _tags_of_pieces(encoding.word_ids(place), split.labels[row])
                for place, row in enumerate(rows)
            )
    notices: list[str] = []
    own_labels: Any = split.labels
    if task.labels == "tags":
        own_labels = _joined(labels, numpy.int64)
        notices.extend(_unread_notices(split, own_labels, max_length))
    elif task.labels == "none":
        if split.labelled:
            ids = _with_next(ids, notices)
        own_labels = _joined(ids, numpy.int64)
    offsets = numpy.zeros(len(ids) + 1, dtype=numpy.int64)
    numpy.cumsum([len(row) for row in ids], out=offsets[1:])
    return TokenTable(
        ids=_joined(ids, numpy.int32),
        type_ids=_joined(types, numpy.int32) if types else None,
        offsets=offsets,
        labels=own_labels,
        per_token=task.labels in ("tags", "none"),
        pad_id=tokenizer.pad_token_id or 0,
        notices=tuple(notices),
    )


def _check_room(tokenizer: PreTrainedTokenizerBase, max_length: int, *, pairs: bool) -> None:
    # A tokenizer that finds no room for its special tokens does not cut at all.
    n_special = tokenizer.num_special_tokens_to_add(pair=pairs)
    if max_length <= n_special:
        raise UserError(
            f"data.max_length: must be above {n_special}, the special tokens that the tokenizer"
            f" adds to each row, but got {max_length}."
        )


def _encodings(
    split: Split,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    type_ids: bool,
) -> Iterator[tuple[range, Any]]:
    """Yield rows with their encoding, chunk by chunk."""
    columns = [split.inputs[name] for name in task.inputs]
    pairs = len(columns) > 1
    of_words = task.inputs == ("words",)
    spelled = spelling_of_words(tokenizer) if of_words else str
    for start in range(0, len(split), _CHUNK_TEXTS):
        rows = range(start, min(start + _CHUNK_TEXTS, len(split)))
        texts = [[spelled(value) for value in column[start : rows.stop]] for column in columns]
        yield (
            rows,
            tokenizer(
                *texts,
                truncation="longest_first" if pairs else True,
                max_length=max_length,
                padding=False,
                is_split_into_words=of_words,
                return_attention_mask=False,
                return_token_type_ids=(
                    pairs and type_ids and "token_type_ids" in tokenizer.model_input_names
                ),
            ),
        )


def spelling_of_words(
    tokenizer: PreTrainedTokenizerBase,
) -> Callable[[Sequence[str]], list[str]]:
    """Return how words are handed to a tokenizer so that it reads them as in running text.

    Most tokenizers read single words so by themselves. To some the blank before a word is part of
    it; without it, `New York` would be read as `NewYork`.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"backbone: its tokenizer ({type(tokenizer).__name__}) does not tell which word a token"
            " is of, so that token-classification cannot use it; one with a tokenizer.json can."
        )

    def pieces(words: str | list[str]) -> Any:
        is_split = not isinstance(words, str)
        return tokenizer(words, is_split_into_words=is_split, add_special_tokens=False)["input_ids"]

    in_text = pieces("a a")
    if pieces(["a", "a"]) != in_text and pieces(["a", " a"]) == in_text:
        return lambda words: [*words[:1], *(f" {word}" for word in words[1:])]
    return list


def _tags_of_pieces(
    words: Sequence[int | None], tags: NDArray[numpy.int64]
) -> NDArray[numpy.int64]:
    """Return the label of each piece: its word's tag where it is the first piece of it."""
    labels = numpy.full(len(words), IGNORED, dtype=numpy.int64)
    for place, (before, word) in enumerate(itertools.pairwise([None, *words])):
        if word is not None and word != before:
            labels[place] = tags[word]
    return labels


def _unread_notices(split: Split, labels: NDArray[numpy.int64], max_length: int) -> list[str]:
    """Tell of words that have no token."""
    n_words = sum(len(words) for words in split.labels)
    n_unread = n_words - int((labels != IGNORED).sum())
    if not n_unread:
        return []
    return [
        f"{n_unread} of {n_words} words are not read: they stand behind the first {max_length}"
        " tokens of their row (data.max_length), or the tokenizer makes nothing of them. They are"
        " neither learned nor scored."
    ]


def _with_next(ids: list[Ids], notices: list[str]) -> list[Ids]:
    """Return the rows that have a next token to learn."""
    kept = [row for row in ids if len(row) > 1]
    if not kept:
        raise UserError(
            "data.text: no row has two tokens, so that there is no next token to learn. Is it the"
            " right column?"
        )
    n_short = len(ids) - len(kept)
    if n_short:
        notices.append(
            f"{in_rows(n_short)} of {len(ids)} with fewer than two tokens dropped: no next token"
            " can be learned from them."
        )
    return kept


def _joined(rows: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    """Return rows end to end."""
    return numpy.concatenate([numpy.empty(0, dtype), *rows]).astype(dtype, copy=False)
