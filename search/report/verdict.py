"""What a study's results speak for, and how far.

The rule is one and stated on the page: of all confirmed models, baselines and references included,
take the cheapest whose mean test score is at most one point below the best mean; of equally cheap
ones that of fewest trained parameters, since these are kept for every task. A search that found
nothing worth its compute is thereby told so. Nothing is recommended on the scores that the search
itself saw: there the knee of the front is only what to confirm first.
"""

from dataclasses import dataclass
from typing import Literal

from optuna.study import StudyDirection

from search.objectives import METRICS, SHARES
from search.references import TFIDF
from search.report.facts import Fact, difference_form
from search.report.models import Model, Models

TOLERANCE_PCT = 1
"""How much worse than the best a cheaper model may score: points, or percent of other metrics."""
_PCT = 100


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One model against another."""

    model: Model
    other: Model
    kind: Literal["better", "worse", "noise", "untested"]
    """`untested`: two single trainings on validation data; nobody knows what chance did."""
    difference: Fact
    """In quality: model less other."""
    low: Fact | None = None
    """Of the 95 % interval, as `high`."""
    high: Fact | None = None
    p: Fact | None = None
    cost_share: Fact | None = None
    """The model's cost over the other's."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do, and why."""

    model: Model | None
    """Recommended, or to be confirmed first; None: nothing is complete."""
    is_confirmed: bool
    best: Model | None = None
    """Of the best mean test score; where nothing was confirmed, None."""
    cost: str = "inference_gflops"
    """The metric by which models are cheaper than others."""
    findings: tuple[Finding, ...] = ()
    """The model that the search found against every baseline and reference."""


def judge(models: Models) -> Verdict:
    """Return the verdict on a study."""
    cost = cost_metric(models)
    tested = [m for m in models.confirmed if m.tested("mean", models.metric)]
    if not tested:
        model = models.knee
        findings = () if model is None else _unconfirmed(models, model, cost)
        return Verdict(model=model, is_confirmed=False, cost=cost, findings=findings)
    up = METRICS[models.metric].direction == "maximize"
    best = max(tested, key=lambda m: _mean(m, models.metric) * (1 if up else -1))
    near = [m for m in tested if _is_near(m, best, models.metric)]
    model = min(near, key=lambda m: (_cost(m, cost), _size(m), m is not best))
    chosen = [m for m in models.chosen if m in tested]
    subject = model if model in chosen else _best_of(chosen, models.metric, up)
    findings = () if subject is None else findings_of(models, subject, cost)
    return Verdict(model=model, is_confirmed=True, best=best, cost=cost, findings=findings)


def cost_metric(models: Models) -> str:
    """Return the first objective after quality that is minimised, else the inference cost."""
    for name, way in zip(models.names[1:], models.directions[1:], strict=True):
        if way == StudyDirection.MINIMIZE:
            return name
    return "inference_gflops"


def cost_share(model: Model, other: Model, metric: str) -> Fact | None:
    """Return a model's cost over another's, None where either is not known."""
    own, theirs = model.measured(metric), other.measured(metric)
    if own is None or theirs is None or not theirs.value:
        return None
    source = f"ratio:{model.key}:{other.key}:{metric}"
    return Fact(value=float(own.value) / float(theirs.value), source=source, form="share")


def findings_of(models: Models, model: Model, cost: str) -> tuple[Finding, ...]:
    """Return a chosen model against every baseline and reference, as confirmed."""
    found = []
    for other in models.confirmed:
        test = models.comparison(model, other)
        if test is None:
            continue
        source = f"compare:{model.key}:{other.key}"
        form = difference_form(test.metric)
        low, high = (
            Fact(value=bound, source=f"{source}:{name}", form=form)
            for name, bound in zip(("low", "high"), test.interval, strict=True)
        )
        found.append(
            Finding(
                model=model,
                other=other,
                kind="noise" if test.within_noise else "better" if test.better else "worse",
                difference=Fact(value=test.difference, source=f"{source}:difference", form=form),
                low=low,
                high=high,
                p=Fact(value=test.corrected, source=f"{source}:corrected", form="p"),
                cost_share=cost_share(model, other, cost),
            )
        )
    return tuple(found)


def _mean(model: Model, metric: str) -> float:
    fact = model.tested("mean", metric)
    assert fact is not None
    return float(fact.value)


def _cost(model: Model, metric: str) -> float:
    """The cost as it is shown: what is merged costs what the backbone does, to the last digit."""
    fact = model.measured(metric)
    if fact is not None:
        return float(f"{fact.value:.3g}")
    return 0.0 if model.key == TFIDF else float("inf")


def _size(model: Model) -> float:
    fact = model.measured("trainable_params")
    return float("inf") if fact is None else float(fact.value)


def _is_near(model: Model, best: Model, metric: str) -> bool:
    top, own = _mean(best, metric), _mean(model, metric)
    allowed = TOLERANCE_PCT / _PCT * (1 if metric in SHARES else abs(top))
    return abs(top - own) <= allowed + 1e-12


def _best_of(models: list[Model], metric: str, up: bool) -> Model | None:
    return max(models, key=lambda m: _mean(m, metric) * (1 if up else -1), default=None)


def _unconfirmed(models: Models, model: Model, cost: str) -> tuple[Finding, ...]:
    found, metric = [], models.names[0]
    for other in models.baselines:
        own, theirs = model.searched(metric), other.searched(metric)
        if other.key == model.key or own is None or theirs is None:
            continue
        difference = Fact(
            value=float(own.value) - float(theirs.value),
            source=f"difference:{model.key}:{other.key}:{metric}",
            form=difference_form(metric),
        )
        share = cost_share(model, other, cost)
        found.append(
            Finding(
                model=model, other=other, kind="untested", difference=difference, cost_share=share
            )
        )
    return tuple(found)
