"""What tells at a rung who will be ahead at the end: accuracy or the validation loss?

    python -m studies.benchmarks.signals

A structure is better than the starting points where its whole training, added to theirs, raises
the hypervolume. It is found out early where, by then, it is well ahead of the best of those
starting points that cost no more. How well the one tells of the other is the area under the ROC
curve: the chance that a better structure is further ahead than one that is not; 0.5 is a guess.
"""

from collections.abc import Mapping

import optuna
from sklearn.metrics import roc_auc_score

from studies.benchmarks.curves import Curve, Curves
from studies.benchmarks.grid import sample
from studies.benchmarks.replay import STARTS, curves_of_table

NOTABLE = 0.004
"""Of the table's hypervolume: what a structure has to add to that of the starting points. By less
than that a right answer more or less can raise it."""
SIGNALS = ("accuracy", "validation loss")


def starting_structures() -> list[str]:
    """Return the starting points, as the table names them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    structures = []
    for params in STARTS:
        study.enqueue_trial(dict(params))
        structures.append(sample(study.ask())[0].to_json())
    return structures


def better_structures(curves: Curves, starts: list[str]) -> set[str]:
    """Return the structures that a study which began with the starting points should find."""
    base = curves.searched_share(starts)
    return {
        structure
        for structure in curves.searched
        if curves.searched_share(curves.front_of([*starts, structure])) - base > NOTABLE
    }


def leads(curves: Curves, starts: list[str], epoch: float, signal: str) -> Mapping[str, float]:
    """Return how far each structure is ahead of the best starting point that costs no more.

    What costs less than all of them is compared with the worst structure there is.
    """

    def value(curve: Curve) -> float:
        accuracy, _, loss = curve.at_rung(epoch)
        return accuracy if signal == "accuracy" else -loss

    worst = min(value(curve) for curve in curves.searched.values())
    given = [curves.searched[structure] for structure in starts]
    return {
        structure: value(curve)
        - max(
            (value(o) for o in given if o.inference_gflops <= curve.inference_gflops),
            default=worst,
        )
        for structure, curve in curves.searched.items()
    }


def area(curves: Curves, starts: list[str], epoch: float, signal: str) -> float:
    """Return how well a signal tells at a point of time who is better: the area, 0.5 to 1."""
    better, ahead = better_structures(curves, starts), leads(curves, starts, epoch, signal)
    return float(roc_auc_score([s in better for s in ahead], list(ahead.values())))


def table() -> str:
    """Return the areas of all data sets and training seeds, in Markdown."""
    starts, found = starting_structures(), curves_of_table()
    heads = [f"{curves.data}, seed {curves.seed}" for curves in found]
    lines = [["after, by", *heads, "mean"], ["---"] * (len(heads) + 2)]
    points = list(next(iter(found[0].searched.values())).accuracies)
    for point in points[:-1]:
        for signal in SIGNALS:
            areas = [area(curves, starts, point, signal) for curves in found]
            name = f"{point:.2g} epochs, {signal}"
            mean = sum(areas) / len(areas)
            lines.append([name, *(f"{a:.2f}" for a in areas), f"{mean:.2f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(table())
