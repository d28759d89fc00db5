"""Early exits of a trial: the threshold is chosen after training, and the mean cost is told."""

import optuna

from search.context import StudyContext
from search.objectives import METRICS
from space.spec import AdapterSpec
from trainers.early_exit import ExitPoint, choose, exit_curve
from trainers.fit import FitResult
from trainers.metrics import meter_of

EXIT_CURVE = "exit_curve"
"""Trial attribute: what each threshold gives on validation (ExitPoint.to_dict)."""
EXIT_THRESHOLD = "exit_threshold"
"""Trial attribute: the threshold that was chosen."""


def leave_early(context: StudyContext, trial: optuna.Trial, result: FitResult) -> ExitPoint | None:
    """Return the point of the exit curve that a trial stands for; None without early exits.

    It is the cheapest that is at most `training.exit_tolerance` worse in the first objective than
    never leaving early. The whole curve is kept with the trial.
    """
    if result.exits is None:
        return None
    task, data = context.task, context.data
    metric = exit_metric(context)
    spec_gflops = context.cost.gflops_behind(_spec_of(trial))
    curve = exit_curve(
        result.exits.logits,
        result.exits.labels,
        lambda: meter_of(task, data.labels, data.scale),
        metric,
        spec_gflops,
        multi_label=task.multi_label,
    )
    direction = METRICS[metric].direction
    chosen = choose(curve, context.study.training.exit_tolerance, direction)
    trial.set_user_attr(EXIT_CURVE, [point.to_dict() for point in curve])
    trial.set_user_attr(EXIT_THRESHOLD, chosen.threshold)
    return chosen


def exit_metric(context: StudyContext) -> str:
    """Return the metric that thresholds are chosen by: the first objective, if it tells quality."""
    name, metrics = context.study.objective_names[0], context.task.metrics
    return name if name in metrics else metrics[0]


def _spec_of(trial: optuna.Trial) -> AdapterSpec:
    return AdapterSpec.from_json(trial.user_attrs["spec"])
