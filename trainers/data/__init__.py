"""A study's data: files or a built-in source, to rows, to what a backbone reads, to batches."""

from trainers.columns import Columns
from trainers.data.batch import Batch
from trainers.data.batches import LikeLengthBatches, sorted_batches
from trainers.data.datamodule import BatchLoader, StudyDataModule
from trainers.data.dataset import Split, TaskData, load_data, unlabelled
from trainers.data.docstrings import docstring_rows
from trainers.data.encode import Table, encode, token_stats
from trainers.data.image_rows import read_images
from trainers.data.images import pixels_of
from trainers.data.scale import TargetScale
from trainers.data.sources import SOURCES
from trainers.data.table import iterate_table, read_table
from trainers.data.tokens import TokenTable, tokenize

__all__ = [
    "SOURCES",
    "Batch",
    "BatchLoader",
    "Columns",
    "LikeLengthBatches",
    "Split",
    "StudyDataModule",
    "Table",
    "TargetScale",
    "TaskData",
    "TokenTable",
    "docstring_rows",
    "encode",
    "iterate_table",
    "load_data",
    "pixels_of",
    "read_images",
    "read_table",
    "sorted_batches",
    "token_stats",
    "tokenize",
    "unlabelled",
]
