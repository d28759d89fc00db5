"""A few answers that are worth explaining one by one.

Shapes: `N` tokens, `C` labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from trainers.bundle import LoadedBundle
from trainers.data import Table
from trainers.entities import OUTSIDE
from trainers.explain.answered import Answered
from trainers.explain.running import answers_of
from trainers.explain.tokens import tokens_of
from trainers.tasks import IGNORED

RIGHT, WRONG, UNSURE = "right and sure", "wrong and sure", "least sure"
CLOSE, FAR, MIDDLE = "closest", "farthest off", "in the middle"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One answer."""

    row: int
    why: str
    """What it is an example of."""
    place: int | None
    """Of the token that the answer is about; None where it is about the row."""
    output: int
    """Which of the head's outputs it is."""
    about: str
    """What it is, in words."""


def examples_of(bundle: LoadedBundle, table: Table, answered: Answered) -> list[Example]:
    """Choose a few answers: sure and right, sure and wrong, and the least sure.

    Of numbers the closest, the farthest off and one in the middle; of words the same within their
    rows; of a language model the last token of the rows that it finds easiest and hardest.
    """
    kind = bundle.config.what.labels
    lengths = table.lengths
    rows = [i for i in range(len(answered.rows)) if kind != "none" or lengths[i] > 1]
    if kind in ("number", "none"):
        chosen = _by_distance(answered, rows)
    else:
        chosen = _by_confidence(answered, rows)
    return [e for row, why in chosen if (e := example_of(bundle, table, answered, row, why))]


def _by_distance(answered: Answered, rows: Sequence[int]) -> list[tuple[int, str]]:
    order = sorted(rows, key=lambda i: answered.rows[i].error)
    middle = len(order) // 2
    named = [(CLOSE, order[:2]), (FAR, order[::-1][:3]), (MIDDLE, order[middle : middle + 1])]
    return _distinct(named)


def _by_confidence(answered: Answered, rows: Sequence[int]) -> list[tuple[int, str]]:
    def sure(row: int) -> float:
        return answered.rows[row].confidence or 0.0

    right = sorted((i for i in rows if not answered.rows[i].wrong), key=sure, reverse=True)
    wrong = sorted((i for i in rows if answered.rows[i].wrong), key=sure, reverse=True)
    return _distinct([(RIGHT, right[:2]), (WRONG, wrong[:3]), (UNSURE, sorted(rows, key=sure)[:2])])


def _distinct(named: Sequence[tuple[str, Sequence[int]]]) -> list[tuple[int, str]]:
    found: dict[int, str] = {}
    for why, rows in named:
        for row in rows:
            found.setdefault(row, why)
    return list(found.items())


@torch.no_grad()
def example_of(
    bundle: LoadedBundle, table: Table, answered: Answered, row: int, why: str
) -> Example | None:
    """Return what of a row is explained; None where nothing of it is answered."""
    config = bundle.config
    kind = config.what.labels
    if kind == "number":
        return Example(row=row, why=why, place=None, output=0, about="the number")
    batch = table.collate(numpy.array([row]))
    logits = answers_of(bundle.model, batch.inputs)[answered.rows[row].depth][0]
    if kind == "tags":
        return _word(config.labels, batch.labels[0], logits, row, why)
    if kind == "none":
        last = int(batch.labels.shape[1]) - 1
        output = int(batch.labels[0, last])
        text = tokens_of(bundle.backbone).token(output).text
        about = f"the last token, `{text}`, as the next after those before it"
        return Example(row=row, why=why, place=last - 1, output=output, about=about)
    output = int(logits.argmax())
    about = f"the answer `{config.labels[output]}`"
    return Example(row=row, why=why, place=None, output=output, about=about)


def _word(
    labels: Sequence[str], truth: Tensor, logits: Tensor, row: int, why: str
) -> Example | None:
    """Return the word of a row that is explained: the surest of its kind, or the least sure."""
    places = (truth != IGNORED).nonzero().flatten()
    if not len(places):
        return None
    sure, best = logits[places].softmax(-1).max(-1)
    if why == WRONG:
        sure = sure.where(best != truth[places], torch.tensor(-1.0))
    elif why == RIGHT:
        # What is no entity is easy to tell; an entity is more worth looking at.
        sure = sure + torch.tensor([labels[tag] != OUTSIDE for tag in best.tolist()])
    chosen = int(sure.argmin() if why == UNSURE else sure.argmax())
    output = int(best[chosen])
    about = f"the tag `{labels[output]}` of the outlined word"
    true = labels[int(truth[places[chosen]])]
    about += " (right)" if true == labels[output] else f" (true: `{true}`)"
    return Example(row=row, why=why, place=int(places[chosen]), output=output, about=about)
