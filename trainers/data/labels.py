"""The labels of each task: how they are checked, parted and told to the training."""

from trainers.columns import Columns
from trainers.data.class_labels import OneLabel, SeveralLabels
from trainers.data.labelling import Labelling
from trainers.data.number_labels import NoLabels, Numbers
from trainers.data.tag_labels import Tags
from trainers.tasks import Task


def labelling_of(task: Task, columns: Columns) -> Labelling:
    """Return how the labels of a task are treated."""
    match task.labels:
        case "class":
            return OneLabel(column=columns.label)
        case "classes":
            assert columns.label_separator is not None
            return SeveralLabels(column=columns.label, separator=columns.label_separator)
        case "number":
            return Numbers(column=columns.label)
        case "tags":
            return Tags()
        case _:
            return NoLabels()
