"""A study's data: files or a built-in source, to texts, to tokens, to batches."""

from trainers.data.batches import Batch, LikeLengthBatches, collate, sorted_batches
from trainers.data.datamodule import BatchLoader, TextDataModule
from trainers.data.dataset import SOURCES, Split, TextData, load_text_data
from trainers.data.docstrings import docstring_rows
from trainers.data.table import iterate_table, read_table
from trainers.data.tokens import TokenTable, token_stats, tokenize

__all__ = [
    "SOURCES",
    "Batch",
    "BatchLoader",
    "LikeLengthBatches",
    "Split",
    "TextData",
    "TextDataModule",
    "TokenTable",
    "collate",
    "docstring_rows",
    "iterate_table",
    "load_text_data",
    "read_table",
    "sorted_batches",
    "token_stats",
    "tokenize",
]
