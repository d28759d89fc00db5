"""Early exits of a trial: the threshold is chosen after training, and the mean cost is told."""

from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from torch import Tensor

from search.context import StudyContext
from search.objectives import METRICS
from space.cost import TokenStats
from space.spec import AdapterSpec
from trainers.early_exit import ExitPoint, choose, exit_curve
from trainers.fit import FitResult
from trainers.metrics import meter_of

EXIT_CURVE = "exit_curve"
"""Trial attribute: what each threshold gives on validation (ExitPoint.to_dict)."""
EXIT_THRESHOLD = "exit_threshold"
"""Trial attribute: the threshold that was chosen."""


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """How a structure leaves early."""

    point: ExitPoint
    """The point of the curve that the trial stands for."""
    curve: tuple[ExitPoint, ...]

    def attributes(self) -> dict[str, Any]:
        """Return what is kept of it with the trial."""
        return {
            EXIT_CURVE: [point.to_dict() for point in self.curve],
            EXIT_THRESHOLD: self.point.threshold,
        }


def leave_early(context: StudyContext, spec: AdapterSpec, result: FitResult) -> Leaving | None:
    """Return the exit curve and the point that a trial stands for; None without early exits.

    It is the cheapest that is at most `training.exit_tolerance` worse in the first objective than
    never leaving early.
    """
    if result.exits is None:
        return None
    task, data = context.task, context.data
    metric = exit_metric(context)
    curve = exit_curve(
        result.exits.logits,
        result.exits.labels,
        lambda: meter_of(task, data.labels, data.scale),
        metric,
        row_gflops(context, spec),
        multi_label=task.multi_label,
    )
    direction = METRICS[metric].direction
    chosen = choose(curve, context.study.training.exit_tolerance, direction)
    return Leaving(point=chosen, curve=tuple(curve))


def exit_metric(context: StudyContext) -> str:
    """Return the metric that thresholds are chosen by: the first objective, if it tells quality."""
    name, metrics = context.study.objective_names[0], context.task.metrics
    return name if name in metrics else metrics[0]


def row_gflops(context: StudyContext, spec: AdapterSpec) -> Tensor:
    """Return what each validation row costs at each exit and at the end, in the order of batches.

    All are scaled alike, so that their mean at the end is the cost on the training rows, which
    structures without exits are told to cost.
    """
    lengths = numpy.sort(context.validation.lengths)  # as trainers.data.sorted_batches has them
    unique, places = numpy.unique(lengths, return_inverse=True)
    costs = torch.tensor(
        [
            replace(context.cost, tokens=TokenStats.of([length])).gflops_behind(spec)
            for length in unique.tolist()
        ],
        dtype=torch.float64,
    )[torch.from_numpy(places)]
    return costs * (context.cost.inference_gflops(spec) / costs[:, -1].mean())
