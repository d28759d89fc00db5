"""A table of curves that is made up: quick to make, and every number in it is known."""

import pandas

from studies.benchmarks.grid import grid_points
from studies.benchmarks.table import columns_of, cost_model
from studies.benchmarks.trainings import DATA_SETS, EPOCHS, POINTS, SEEDS

TOKENS = [[10, 600], [12, 400]]
FACTS = {
    "data": {name: {"rows": 1000, "n_outputs": 10, "tokens": TOKENS} for name in DATA_SETS},
}


def final_accuracy(point):
    """Deeper is better, and LoRA is better than the rest: two numbers decide."""
    return 0.5 + 0.05 * point.spec.depth + (0.02 if point.params["kind"] == "lora" else 0.0)


def accuracy(point, epoch):
    """All curves have one shape, so that a rung orders structures as the end does."""
    return final_accuracy(point) - 0.1 * (EPOCHS - epoch) / EPOCHS


def made_up(shape, points=None):
    """Return the table of a backbone's shape; both seeds and both data sets are alike."""
    cost = cost_model(FACTS["data"][DATA_SETS[0]], shape)
    rows = []
    for point in points or grid_points():
        fixed = {
            "structure": point.spec.to_json(),
            **columns_of(point.params),
            "inference_gflops": cost.inference_gflops(point.spec),
            "training_gflops": cost.training_gflops(point.spec),
            "trainable_params": cost.trainable_params(point.spec),
        }
        rows += [
            {
                "data": data,
                "seed": seed,
                **fixed,
                "epoch": epoch,
                "seconds": epoch,
                "accuracy": accuracy(point, epoch),
                "validation_loss": 2 - accuracy(point, epoch),
                "train_loss": 1.0,
                "gflops_so_far": fixed["training_gflops"] * 1000 * epoch,
            }
            for data in DATA_SETS
            for seed in SEEDS
            for epoch in POINTS
        ]
    return pandas.DataFrame(rows)
