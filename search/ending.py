"""How a trial ends, and how its end is written to the storage.

Complete, pruned, failed, infeasible and interrupted are different ends; none is disguised as
another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.lineage import RESUMES, lineage, resumed_as
from search.moments import TOOK_S
from space.redaction import redacted
from space.search_space import Learning
from space.spec import AdapterSpec

if TYPE_CHECKING:
    from search.context import StudyContext
    from trainers.reports import EpochReport


@dataclass(frozen=True, kw_only=True)
class End:
    """How a trial ended and what it gave."""

    kind: str
    """complete, pruned, failed, infeasible (interrupted is written by search/store.py)."""
    reason: str = ""
    """In words, for all ends but complete."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: "Sequence[EpochReport]" = ()
    twin: FrozenTrial | None = None
    """The earlier, equal trial whose end this is."""
    took_s: float | None = None
    """How long it took, where it was trained."""

    @classmethod
    def pruned(
        cls, trial: optuna.Trial, metrics: Mapping[str, float], history: "Sequence[EpochReport]"
    ) -> "End":
        """Return the end of a trial that the pruner stopped; its reason stands in the trial."""
        reason = str(trial.user_attrs["reason"])
        return cls(kind="pruned", reason=reason, metrics=metrics, history=history)

    @classmethod
    def same_as(cls, twin: FrozenTrial) -> "End":
        """Return the end of an equal trial that was trained before."""
        return cls(
            kind=twin.user_attrs["end"],
            reason=twin.user_attrs.get("reason", ""),
            metrics=twin.user_attrs.get("metrics", {}),
            twin=twin,
        )


def note_structure(trial: optuna.Trial, spec: AdapterSpec, learning: Learning) -> None:
    """Write the structure to the trial before anything is done with it."""
    trial.set_user_attr("spec", spec.to_json())
    trial.set_user_attr("learning", asdict(learning))


def finish(context: "StudyContext", trial: optuna.Trial, end: End) -> End:
    """Write the end to the storage and tell Optuna.

    The attributes come first: if the process dies between, the next run tells the rest.
    """
    attributes: dict[str, Any] = {"metrics": dict(end.metrics), "end": end.kind}
    if end.history:
        attributes["history"] = [epoch.to_dict() for epoch in end.history]
    if end.took_s is not None:
        attributes[TOOK_S] = round(end.took_s, 3)
    if end.reason:
        attributes["reason"] = redacted(end.reason)
    if end.twin is not None:
        attributes["same_as"] = end.twin.number
        kept = ("routing", "exit_curve", "exit_threshold")
        attributes |= {k: v for k, v in end.twin.user_attrs.items() if k in kept}
        for name, value in end.twin.constraints.items():
            if name not in trial.constraints:
                trial.set_constraint(name, value)
    for name in sorted(attributes, key=lambda name: name == "end"):  # the end is written last
        trial.set_user_attr(name, attributes[name])
    tell_end(trial.study, trial.number, attributes, context.study.objective_names)
    return end


def tell_end(
    study: optuna.Study, number: int, attributes: Mapping[str, Any], objectives: Sequence[str]
) -> None:
    """Tell Optuna of an end that stands in a trial's attributes."""
    kind, metrics = attributes["end"], attributes["metrics"]
    values = [metrics.get(name, math.nan) for name in objectives]
    has_values = all(math.isfinite(value) for value in values)
    if kind == "complete" or (kind == "infeasible" and has_values):
        study.tell(number, values)
    else:
        study.tell(number, state=TrialState.FAIL if kind == "failed" else TrialState.PRUNED)


def twin_of(trial: optuna.Trial) -> FrozenTrial | None:
    """Return the earlier trial of equal structure and learning that was trained, if any.

    One that failed is no twin: it may have failed for want of memory at the time. Of a training
    that was taken up again the later trial is, and the trial that takes it up has none in it.
    """
    own = (trial.user_attrs["spec"], trial.user_attrs["learning"])
    trials = trial.study.get_trials(deepcopy=False)
    passed = {trial.number, *lineage(trials, trial.number)}
    passed |= {stopped for stopped, later in resumed_as(trials).items() if _is_twin(later)}
    for other in trials:
        if other.number in passed or not _is_twin(other):
            continue
        if own == (other.user_attrs["spec"], other.user_attrs["learning"]):
            return other
    return None


def equal_running(trial: optuna.Trial) -> bool:
    """Whether an earlier trial of equal structure and learning is being trained right now."""
    own = (trial.user_attrs["spec"], trial.user_attrs["learning"])
    return any(
        own == (other.user_attrs.get("spec"), other.user_attrs.get("learning"))
        for other in trial.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if other.number < trial.number
    )


def _is_twin(trial: FrozenTrial) -> bool:
    return was_trained(trial) and trial.user_attrs["end"] != "failed"


def was_trained(trial: FrozenTrial) -> bool:
    """Whether training was spent on this trial."""
    end = trial.user_attrs.get("end")
    if not trial.state.is_finished() or "same_as" in trial.user_attrs:
        return False
    return end in ("complete", "pruned", "failed") or (
        end == "infeasible" and "history" in trial.user_attrs
    )


def n_trained(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials count against the budget: a training that is taken up counts once."""
    return sum(was_trained(trial) and RESUMES not in trial.user_attrs for trial in trials)
