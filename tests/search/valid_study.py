"""The smallest study file that is right."""

VALID = {
    "name": "mine",
    "task": "text-classification",
    "backbone": "minilm",
    "data": {"train": "rows/train.csv"},
}
