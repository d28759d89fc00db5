"""What a model costs to make and to run, as facts."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.front import trained
from search.moments import begin_of, end_of
from search.report.facts import Fact, Form
from search.report.models import Model, Models
from search.report.money import Load, Spent, load, spent
from search.study_sections import Costs

_S_AN_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Making:
    """What hours of training come to; None where it is not known or has no price."""

    time: Fact | None
    energy_kwh: Fact | None = None
    money: Fact | None = None
    carbon_kg: Fact | None = None


@dataclass(frozen=True, kw_only=True)
class Running:
    """What serving comes to; None where it is not known, has no price or no load."""

    request_ms: Fact | None
    busy_hours_a_day: Fact | None = None
    machines: Fact | None = None
    money_a_day: Fact | None = None
    money_a_year: Fact | None = None
    always_on_a_year: Fact | None = None
    energy_kwh_a_year: Fact | None = None
    carbon_kg_a_year: Fact | None = None


def search_seconds(trials: Sequence[FrozenTrial]) -> Fact:
    """Return how long trials ran, in seconds, trials side by side counted once.

    A trial that was cut off is left out: nobody knows when it ended.
    """
    spans = sorted(
        (begin_of(t).timestamp(), end_of(t).timestamp())
        for t in trials
        if t.datetime_complete and t.user_attrs.get("end") != "interrupted"
    )
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return Fact(value=total, source="study:search_s", form="duration")


def confirm_seconds(models: Models) -> Fact | None:
    """Return how long all confirmed trainings took, None where there are none."""
    times = [
        seconds
        for model in models.confirmed
        if model.point is not None
        for seconds in model.point.values("train_s")
    ]
    if not times:
        return None
    return Fact(value=sum(times), source="study:confirm_s", form="duration")


def backbone_ms(models: Models) -> Fact | None:
    """Return what one request takes the whole bare backbone on this machine.

    It is the median over all trials of latency over latency_ratio: each trial took its own time in
    turns with the bare backbone, and the machine was not equally fast for all of them.
    """
    measured = [trial.user_attrs.get("metrics", {}) for trial in trained(models.trials)]
    found = [
        metrics["latency_ms"] / metrics["latency_ratio"]
        for metrics in measured
        if metrics.get("latency_ratio") and metrics.get("latency_ms")
    ]
    if not found:
        return None
    return Fact(value=statistics.median(found), source="study:backbone_ms", form="number")


def making(key: str, time: Fact | None, costs: Costs) -> Making:
    """Return what a time of training costs."""
    if time is None:
        return Making(time=None)
    found: Spent = spent(float(time.value) / _S_AN_HOUR, costs)
    of = _Facts(key, costs)
    return Making(
        time=time,
        energy_kwh=of("energy_kwh", found.energy_kwh, "amount"),
        money=of("money", found.money, "money"),
        carbon_kg=of("carbon_kg", found.carbon_kg, "amount"),
    )


def running(model: Model, backbone: Fact | None, costs: Costs) -> Running:
    """Return what it costs to answer the requests of a day, one after the other."""
    of = _Facts(model.key, costs)
    ms = _request_ms(model, backbone)
    found: Load | None = None if ms is None else load(ms, costs)
    if found is None:
        return Running(request_ms=of("request_ms", ms))
    return Running(
        request_ms=of("request_ms", ms),
        busy_hours_a_day=of("busy_hours_a_day", found.busy_hours_a_day, "hours"),
        machines=of("machines", found.machines, "count"),
        money_a_day=of("money_a_day", found.day.money, "money"),
        money_a_year=of("money_a_year", found.year.money, "money"),
        always_on_a_year=of("always_on_a_year", found.always_on_year, "money"),
        energy_kwh_a_year=of("energy_kwh_a_year", found.year.energy_kwh, "amount"),
        carbon_kg_a_year=of("carbon_kg_a_year", found.year.carbon_kg, "amount"),
    )


def _request_ms(model: Model, backbone: Fact | None) -> float | None:
    """Its share of the backbone's time, times that time; as measured where it has no share."""
    share, own = model.measured("latency_ratio"), model.measured("latency_ms")
    if share is not None and backbone is not None:
        return float(share.value) * float(backbone.value)
    return None if own is None else float(own.value)


@dataclass(frozen=True)
class _Facts:
    key: str
    costs: Costs

    def __call__(self, name: str, value: float | None, form: Form = "number") -> Fact | None:
        if value is None:
            return None
        unit = (self.costs.currency or "") if form == "money" else ""
        return Fact(value=value, source=f"cost:{self.key}:{name}", form=form, unit=unit)
