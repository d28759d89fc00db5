"""The main road: how one trial goes, from a sampled structure to its end in the storage."""

from collections.abc import Mapping
from dataclasses import dataclass

import optuna

from search.checkpoints import begins_from, ends_in
from search.context import StudyContext
from search.ending import End, finish, note_structure, twin_of
from search.exits import leave_early
from search.granularity import space_of
from search.objectives import known_costs
from search.resuming import with_earlier
from search.rungs import decide
from search.training import train_structure
from space.errors import TrialError
from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.fit import EpochReport, FitResult, Tick
from trainers.latency import measure_latency
from trainers.model import AdaptedModel
from trainers.weights import save_weights


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A structure that is given, not sampled: a baseline outside the search space."""

    spec: AdapterSpec
    learning: Learning


def run_trial(
    context: StudyContext, trial: optuna.Trial, planned: Planned | None, tick: Tick
) -> End:
    """Sample, cost, build, train, measure, keep and tell one trial; return how it ended."""
    spec, learning = _structure(context, trial, planned)
    note_structure(trial, spec, learning)
    costs = known_costs(spec, context.cost)
    broken = _broken_bounds(context, trial, _certain(spec, costs))
    if broken:
        return finish(context, trial, End(kind="infeasible", reason=broken, metrics=costs))
    twin = twin_of(trial)
    if twin is not None:
        return finish(context, trial, End.same_as(twin))
    try:
        model, result = _train(context, trial, spec, learning, costs, tick)
    except TrialError as error:
        return finish(context, trial, End(kind="failed", reason=str(error), metrics=costs))
    metrics = {**costs, **result.metrics}
    if result.stopped:
        return finish(context, trial, End.pruned(trial, metrics, result.history))
    left = leave_early(context, trial, result)
    if left is not None:
        metrics |= {**left.metrics, "inference_gflops": left.mean_gflops}
    shares = None if left is None else left.shares
    metrics |= measure_latency(
        model, context.backbone, round(context.tokens.mean), exit_shares=shares
    )
    save_weights(model, context.weights_folder, trial.number)
    broken = _broken_bounds(context, trial, metrics)
    kind = "infeasible" if broken else "complete"
    return finish(
        context, trial, End(kind=kind, reason=broken, metrics=metrics, history=result.history)
    )


def _structure(
    context: StudyContext, trial: optuna.Trial, planned: Planned | None
) -> tuple[AdapterSpec, Learning]:
    if planned is not None:
        return planned.spec, planned.learning
    return space_of(context.space, trial).sample(trial)


def _train(
    context: StudyContext,
    trial: optuna.Trial,
    spec: AdapterSpec,
    learning: Learning,
    costs: Mapping[str, float],
    tick: Tick,
) -> tuple[AdaptedModel, FitResult]:
    """Train; at each rung the pruner decides whether the trial goes on."""
    pruner = context.study.stopping

    def report(epoch: EpochReport) -> bool:
        return decide(context, trial, pruner, epoch, costs)

    model, result = train_structure(
        context,
        spec,
        learning,
        report=report,
        tick=tick,
        rungs=pruner.rungs(context.study.budget.epochs),
        resume=begins_from(context, trial),
        checkpoint=ends_in(context, trial),
    )
    if result.routing:
        trial.set_user_attr("routing", [dict(adapter) for adapter in result.routing])
    return model, with_earlier(result, trial)


def _certain(spec: AdapterSpec, costs: Mapping[str, float]) -> Mapping[str, float]:
    """Return the costs that hold whatever the training gives: exits may lower the mean cost."""
    return {k: v for k, v in costs.items() if k != "inference_gflops" or not spec.exits}


def _broken_bounds(context: StudyContext, trial: optuna.Trial, metrics: Mapping[str, float]) -> str:
    """Tell Optuna of every bound on a metric that is known by now; return those broken."""
    broken = []
    for bound in context.study.bounds:
        name = bound.describe()
        if bound.metric not in metrics or name in trial.constraints:
            continue
        trial.set_constraint(name, bound.violation(metrics[bound.metric]))
        if trial.constraints[name] > 0:
            broken.append(f"{name} is broken: it is {metrics[bound.metric]:.4g}")
    return "; ".join(broken)
