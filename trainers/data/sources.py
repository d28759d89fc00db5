"""Where rows come from: built-in sources, and the kinds of files of each task."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas

from space.errors import UserError, close_matches
from trainers.columns import Columns
from trainers.data.conll import SUFFIXES, parse_list, read_conll
from trainers.data.docstrings import docstring_rows
from trainers.data.images import read_images
from trainers.data.table import check_file, read_table
from trainers.tasks import Task

SOURCES: Mapping[str, Callable[[], pandas.DataFrame]] = {
    "docstrings": docstring_rows,
}
"""Built-in sources by name; each is one of texts with classes."""


def read_source(
    task: Task, source: str | None, path: Path | None, columns: Columns, where: str
) -> pandas.DataFrame:
    """Return the rows of a task: a column for each of its inputs, `label`, and `row` from 1.

    Raises:
        UserError: what the user gave cannot be read.
    """
    if source is not None:
        return _built_in(task, source)
    assert path is not None, "the study file names a source or a training file"
    if "image" in task.inputs:
        return read_images(path, columns.image, columns.label, where)
    if "words" in task.inputs:
        return _tagged(path, columns, where)
    wanted = {"text": columns.text}
    if "text_pair" in task.inputs:
        assert columns.text_pair is not None
        wanted["text_pair"] = columns.text_pair
    if task.labels != "none":
        wanted["label"] = columns.label
    frame = read_table(path, wanted, where=where)
    return frame.assign(label="") if task.labels == "none" else frame


def _built_in(task: Task, source: str) -> pandas.DataFrame:
    if source not in SOURCES:
        raise UserError(
            f"data.source: no built-in source `{source}`.{close_matches(source, SOURCES)} "
            f"There is: {', '.join(sorted(SOURCES))}. Your own file goes into data.train."
        )
    if task.inputs != ("text",) or task.labels not in ("class", "none"):
        raise UserError(
            f"data.source: `{source}` has texts with one label each, which does not go with the"
            f" task {task.name}. Your own file goes into data.train."
        )
    frame = SOURCES[source]()
    return frame.assign(row=range(1, len(frame) + 1))


def _tagged(path: Path, columns: Columns, where: str) -> pandas.DataFrame:
    """Read sentences with their tags, from a CoNLL file or from columns of lists."""
    if path.suffix.lower() in SUFFIXES:
        check_file(path, where, SUFFIXES)
        sentences = list(read_conll(path, where))
        if sentences and not sentences[0].tags:
            raise UserError(f"{where}: `{path}` has words, but no column of tags beside them.")
        rows = [(s.words, s.tags, s.row) for s in sentences]
    else:
        names = {"text": columns.text, "label": columns.label}
        frame = read_table(path, names, where=where)
        rows = [
            (
                parse_list(words, f"{where}: `{path}`, row {row}", f"`{columns.text}`"),
                parse_list(tags, f"{where}: `{path}`, row {row}", f"`{columns.label}`"),
                row,
            )
            for words, tags, row in frame[["text", "label", "row"]].itertuples(index=False)
        ]
    for words, tags, row in rows:
        if len(words) != len(tags):
            raise UserError(
                f"{where}: `{path}`, row {row}: {len(words)} words, but {len(tags)} tags; every"
                " word has one."
            )
    if not rows:
        raise UserError(f"{where}: `{path}` is empty. It needs words with tags.")
    words_of, tags_of, numbers = zip(*rows, strict=True)
    return pandas.DataFrame(
        {
            "words": pandas.Series(words_of, dtype="object"),
            "label": pandas.Series(tags_of, dtype="object"),
            "row": numbers,
        }
    )
