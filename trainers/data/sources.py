"""Where rows come from: built-in sources, and the kinds of files of each task."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas

from space.errors import UserError, close_matches
from trainers.columns import Columns
from trainers.data.conll import SUFFIXES, Sentence, parse_list, read_conll
from trainers.data.docstrings import docstring_rows
from trainers.data.formats import READERS
from trainers.data.image_rows import other_files_notices, read_images
from trainers.data.table import check_file, read_table
from trainers.tasks import Task

SOURCES: Mapping[str, Callable[[], pandas.DataFrame]] = {
    "docstrings": docstring_rows,
}
"""Built-in sources by name; each is one of texts with classes."""


def read_source(
    task: Task,
    source: str | None,
    path: Path | None,
    columns: Columns,
    where: str,
    notices: list[str],
) -> pandas.DataFrame:
    """Return the rows of a task: a column for each of its inputs, `label`, and `row` from 1.

    Rows of tags have `line` besides: the first line of a sentence in its file, 0 in a table.

    Args:
        task: what is learned.
        source: a built-in source, or None with `path`.
        path: a file or folder, or None with `source`.
        columns: where in the file what is.
        where: what the user wrote it under, for messages.
        notices: takes what the user should know.

    Raises:
        UserError: what the user gave cannot be read.
    """
    if source is not None:
        return _built_in(task, source)
    assert path is not None, "the study file names a source or a training file"
    if "image" in task.inputs:
        if path.is_dir():
            notices.extend(other_files_notices(path, where))
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
    sentences = (
        _from_conll(path, where)
        if path.suffix.lower() in SUFFIXES
        else _from_lists(path, columns, where)
    )
    for sentence in sentences:
        if len(sentence.words) != len(sentence.tags):
            raise UserError(
                f"{where}: `{path}`, row {sentence.row}: {len(sentence.words)} words, but"
                f" {len(sentence.tags)} tags; every word has one."
            )
    if not sentences:
        raise UserError(f"{where}: `{path}` is empty. It needs words with tags.")
    return pandas.DataFrame(
        {
            "words": pandas.Series([s.words for s in sentences], dtype="object"),
            "label": pandas.Series([s.tags for s in sentences], dtype="object"),
            "row": [s.row for s in sentences],
            "line": [s.line for s in sentences],
        }
    )


def _from_conll(path: Path, where: str) -> list[Sentence]:
    check_file(path, where, SUFFIXES)
    sentences = list(read_conll(path, where))
    if sentences and not sentences[0].tags:
        raise UserError(f"{where}: `{path}` has words, but no column of tags beside them.")
    return sentences


def _from_lists(path: Path, columns: Columns, where: str) -> list[Sentence]:
    check_file(path, where, (*SUFFIXES, *READERS))
    frame = read_table(path, {"text": columns.text, "label": columns.label}, where=where)
    return [
        Sentence(
            words=parse_list(words, f"{where}: `{path}`, row {row}", f"`{columns.text}`"),
            tags=parse_list(tags, f"{where}: `{path}`, row {row}", f"`{columns.label}`"),
            row=row,
            line=0,
        )
        for words, tags, row in frame[["text", "label", "row"]].itertuples(index=False)
    ]
