"""What is trained for the table: data sets, seeds, points of time, and the list of trainings."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from search.context import StudyContext, prepare
from search.study_file import load_study_file
from space.cost import CONCATENATED
from studies.benchmarks.grid import GridPoint, grid_points

FOLDER = Path(__file__).parent
DATA_SETS = ("docstrings", "banking77")
"""Names of the study files beside this module."""
SEEDS = (0, 1)
"""Of initial weights and of the order of the rows; the rows themselves are the same."""
EPOCHS = 3
POINTS = (1 / 3, 1.0, 2.0, 3.0)
"""When a training is validated, in epochs."""
ORDER_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of the table."""

    data: str
    seed: int
    point: GridPoint

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from the others."""
        return (self.data, self.seed, self.point.spec.to_json())


def trainings_of_part(part: int, n_parts: int) -> list[Training]:
    """Return the trainings of one of several workers, in the order in which they are done.

    Structures come in a random order that is always the same, each with all of its trainings: what
    is there when a run is cut off is a random sample of the grid, and complete.
    """
    points = list(grid_points())
    random.Random(ORDER_SEED).shuffle(points)  # noqa: S311  (no secret)
    return [
        Training(data=data, seed=seed, point=point)
        for point in points[part::n_parts]
        for seed in SEEDS
        for data in DATA_SETS
    ]


@cache
def context_of(data: str, seed: int = 0) -> StudyContext:
    """Return the study of a data set, its weights and order drawn with another seed.

    Costs must not depend on the machine, so experts are always computed in one product; at the
    ranks of the grid it is the fastest way besides.
    """
    if seed:
        context = context_of(data)
        return replace(context, study=context.study.model_copy(update={"seed": seed}))
    path = FOLDER / f"{data}.yaml"
    context = prepare(load_study_file(path), path.parent, lambda _: None)
    return replace(context, cost=replace(context.cost, ways=lambda *_: CONCATENATED))


def nearest_point(epoch: float, points: Sequence[float] = POINTS) -> float:
    """Return the point of time that a report of the training stands for.

    Raises:
        ValueError: there is none near.
    """
    near = min(points, key=lambda point: abs(point - epoch))
    if abs(near - epoch) > 0.05:
        raise ValueError(f"A report comes at one of {points} epochs, but got {epoch}.")
    return near
