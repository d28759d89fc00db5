"""A study whose task does not go with its backbone, data, space or objectives."""

import pytest


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["search", "dry run"])
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"task": "text-clasification"},
            "task: 'text-clasification' is unknown; the names are text-classification, ",
        ),
        ({"task": "causal-lm"}, "causal-lm needs a causal family such as gpt2"),
        (
            {"task": "image-classification", "data": {"train": "rows.csv"}},
            "(bert) reads texts, which does not go with the task 'image-classification'",
        ),
        ({"task": "text-pair-classification"}, "has no column `text_pair`; it has the columns"),
        ({"task": "text-regression"}, "row 1, column `label`: 'food' is not a number."),
        ({"task": "token-classification"}, 'is a list of texts such as ["New", "York"], but'),
        (
            {"task": "text-regression", "space": {"exits": ["middle"]}},
            "space.exits: a number tells nothing of how sure it is",
        ),
        (
            {"space": {"experts": [2], "kinds": ["ia3"]}},
            "space.experts: none of the kinds given (ia3) can be made of experts.",
        ),
        (
            {"data": {"train": "rows.csv", "image": "file"}},
            "data: `image` goes with image-classification, but the task is text-classification",
        ),
        (
            {"objectives": [{"maximize": "entity_f1"}, {"minimize": "train_s"}]},
            "objectives: 'entity_f1' is not given by the task text-classification; it gives",
        ),
    ],
)
def test_what_does_not_go_with_it(refused, words, changes, why):
    (message,) = refused("search", *words, **changes)
    assert why in message
