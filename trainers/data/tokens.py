"""Texts as token ids: made once a study and shared by all of its trials."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from space.cost import TokenStats
from trainers.data.dataset import Split

_CHUNK_TEXTS = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """Rows of token ids, end to end: row i is `ids[offsets[i] : offsets[i + 1]]`."""

    ids: NDArray[numpy.int32]
    """Shape (tokens of all rows,)."""
    offsets: NDArray[numpy.int64]
    """Shape (rows + 1,)."""
    labels: NDArray[numpy.int64]
    """Shape (rows,)."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """Shape (rows,): tokens of each row."""
        return numpy.diff(self.offsets)


def tokenize(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenTable:
    """Tokenise each text, cut at `max_length` tokens with the special tokens counted."""
    chunks = [numpy.empty(0, dtype=numpy.int32)]
    lengths: list[int] = []
    for rows in _token_ids(split.texts, tokenizer, max_length):
        lengths.extend(len(row) for row in rows)
        chunks.append(numpy.fromiter(itertools.chain.from_iterable(rows), dtype=numpy.int32))
    offsets = numpy.zeros(len(lengths) + 1, dtype=numpy.int64)
    numpy.cumsum(lengths, out=offsets[1:])
    return TokenTable(ids=numpy.concatenate(chunks), offsets=offsets, labels=split.labels)


def token_stats(table: TokenTable) -> TokenStats:
    """Return what the cost model needs of the lengths: their mean and the mean of their square."""
    lengths = table.lengths.astype(numpy.float64)
    return TokenStats(mean=float(lengths.mean()), mean_square=float((lengths**2).mean()))


def _token_ids(
    texts: tuple[str, ...], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[list[list[int]]]:
    for start in range(0, len(texts), _CHUNK_TEXTS):
        encoding = tokenizer(
            list(texts[start : start + _CHUNK_TEXTS]),
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        yield encoding["input_ids"]
