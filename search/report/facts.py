"""A fact: a number, or a name that somebody chose, with the place that it comes from.

What a source may be, `KEY` being a model's key such as `trial-12` or `lora_all`:

| source | is |
|---|---|
| `trial:N:...` | an attribute or a value of a trial in Optuna's storage |
| `study:...` | an attribute of the study there, or what follows from all its trials |
| `file:...` | a key of the study file |
| `confirm:...` | what all confirmed trainings share |
| `confirmed:KEY:...` | what the confirmed trainings of a model gave |
| `compare:KEY:KEY:...`, `curse:...` | the statistics of confirmed results |
| `difference:...`, `ratio:...` | of two models, one less the other and one over the other |
| `cost:KEY:...` | money, energy and time, by the formulas that the report states |
| `importance:...`, `median:...` | of the knobs, from the complete trials |
| `constant:...` | a number of Paradapt's own, such as the level of the intervals |
"""

from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial

from search.objectives import SHARES
from search.study_file import StudySpec

Form = Literal[
    "text",
    "count",
    "number",
    "amount",
    "given",
    "share",
    "points",
    "signed",
    "duration",
    "hours",
    "money",
    "p",
]
"""How a value is shown (search/report/shown.py)."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A value and where it comes from."""

    value: float | int | str
    source: str
    form: Form = "text"
    unit: str = ""
    """Shown with it: a currency."""


def form_of(metric: str) -> Form:
    """Return how the values of a metric are shown."""
    if metric in SHARES:
        return "share"
    if metric.endswith("_params"):
        return "count"
    return "duration" if metric == "train_s" else "number"


def difference_form(metric: str) -> Form:
    """Return how a difference between two values of a metric is shown."""
    return "points" if metric in SHARES else "signed"


def trial_number(number: int) -> Fact:
    """Return the number of a trial as a fact."""
    return Fact(value=number, source=f"trial:{number}:number", form="count")


def trial_metric(trial: FrozenTrial, metric: str) -> Fact | None:
    """Return what a trial measured on validation data, None where it has no such metric."""
    value = trial.user_attrs.get("metrics", {}).get(metric)
    if value is None:
        return None
    source = f"trial:{trial.number}:metrics.{metric}"
    return Fact(value=value, source=source, form=form_of(metric))


def trial_value(trial: FrozenTrial, index: int, metric: str) -> Fact:
    """Return one objective of a complete trial."""
    source = f"trial:{trial.number}:values.{index}"
    return Fact(value=trial.values[index], source=source, form=form_of(metric))


def of_file(study: StudySpec, key: str, form: Form = "count") -> Fact | None:
    """Return a key of the study file, such as `budget.trials`; None where it is null."""
    value: Any = study
    for name in key.split("."):
        value = getattr(value, name)
    return None if value is None else Fact(value=value, source=f"file:{key}", form=form)


def constant(name: str, value: float, form: Form = "count") -> Fact:
    """Return a number of our own."""
    return Fact(value=value, source=f"constant:{name}", form=form)
