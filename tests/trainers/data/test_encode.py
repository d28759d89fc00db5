"""From rows to what a backbone reads: what it does not take is not made."""

from types import SimpleNamespace

import numpy
import pytest

from trainers.data import Split, encode, unlabelled
from trainers.tasks import TASKS

PAIRS = TASKS["text-pair-classification"]


class Takes:
    """A model of which only the names of what it takes are read."""

    def __init__(self, **config):
        self.config = SimpleNamespace(**config)

    def forward(self, input_ids, token_type_ids=None):
        pytest.fail("it is not run")


class TakesNone(Takes):
    def forward(self, input_ids):
        pytest.fail("it is not run")


@pytest.mark.parametrize(
    ("model", "told_apart"),
    [
        (Takes(), True),
        (Takes(type_vocab_size=2), True),
        (Takes(type_vocab_size=1), False),
        (Takes(type_vocab_size=0), False),
        (TakesNone(), False),
    ],
)
def test_texts_are_told_apart_to_models_that_can(tokenizer, model, told_apart):
    split = Split(inputs={"text": ("a",), "text_pair": ("b",)}, labels=numpy.zeros(1))
    backbone = SimpleNamespace(image=None, tokenizer=tokenizer, model=model)
    table = encode(split, PAIRS, backbone, 9)
    assert ("token_type_ids" in table.collate([0]).inputs) is told_apart


def test_rows_to_be_answered_for_are_all_kept(tokenizer):
    task = TASKS["token-classification"]
    split = unlabelled(task, {"words": [("a", "b"), ()]})
    backbone = SimpleNamespace(image=None, tokenizer=tokenizer, model=TakesNone())
    table = encode(split, task, backbone, 9)
    assert table.lengths.tolist() == [4, 2]
    assert table.collate([0, 1]).labels.tolist() == [[-100, 0, 1, -100], [-100] * 4]
