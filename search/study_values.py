"""The values that keys of the study file may have: their types, and what is checked of each.

Each check stands at its own key, so that pydantic goes on and finds all problems at once.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from search.baselines import BASELINES
from search.objectives import METRICS
from search.pruners import PRUNERS
from search.samplers import SAMPLERS
from search.starting_points import STARTING_POINTS
from space.adapter import SCALINGS
from space.errors import close_matches
from space.insertion import MODES, PATTERNS
from space.redaction import has_blank_in_userinfo
from space.search_space import COARSE_TO_FINE, GRANULARITIES
from space.side import SIDE
from trainers.precision import CHOICES
from trainers.tasks import TASKS

PRIORS = ("none", SIDE)
"""What the sampler may be told before it begins."""

T = TypeVar("T")

Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Section(BaseModel):
    """A part of the study file: unknown keys are refused, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Range(Section):
    """A range of numbers, both ends included."""

    low: PositiveFloat = Field(description="The least value.")
    high: PositiveFloat = Field(description="The greatest value.")
    log: bool = Field(False, description="Spread evenly in the logarithm.")

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        if "low" in info.data and info.data["low"] >= high:
            raise ValueError(f"must be above low, which is {info.data['low']}, but got {high}.")
        return high


def _problems(value: T, problems: Sequence[str]) -> T:
    """Return the value, or raise all that is wrong with it, a line each."""
    if problems:
        raise ValueError("\n".join(problems))
    return value


def _unknown(names: Iterable[str], known: Collection[str]) -> list[str]:
    return [
        f"{name!r} is unknown; the names are {', '.join(known)}." + close_matches(name, known)
        for name in names
        if name not in known
    ]


def _in(table: Collection[str]) -> AfterValidator:
    return AfterValidator(lambda name: _problems(name, _unknown((name,), table)))


def _shown_to_editors(table: Collection[str]) -> Any:
    return Field(json_schema_extra={"enum": [*table]})


TaskName = Annotated[str, _in(TASKS), _shown_to_editors(TASKS)]
ScalingName = Annotated[str, _in(SCALINGS), _shown_to_editors(SCALINGS)]
_GRANULARITIES = (*GRANULARITIES, COARSE_TO_FINE)
GranularityName = Annotated[str, _in(_GRANULARITIES), _shown_to_editors(_GRANULARITIES)]
SamplerName = Annotated[str, _in(SAMPLERS), _shown_to_editors(SAMPLERS)]
PriorName = Annotated[str, _in(PRIORS), _shown_to_editors(PRIORS)]
PrunerName = Annotated[str, _in(PRUNERS), _shown_to_editors(PRUNERS)]
PrecisionName = Annotated[str, _in(CHOICES), _shown_to_editors(CHOICES)]
BaselineName = Annotated[str, _in(BASELINES), _shown_to_editors(BASELINES)]
StartingPointName = Annotated[str, _in(STARTING_POINTS), _shown_to_editors(STARTING_POINTS)]


def _mode(word: str) -> str:
    if word not in MODES:
        raise ValueError(
            f"must be one of {', '.join(MODES)}, or a list of patterns ({', '.join(PATTERNS)}),"
            f" but got {word!r}." + close_matches(word, MODES)
        )
    return word


def _auto(word: str) -> str:
    if word != "auto":
        raise ValueError(f"must be a whole number, or auto, but got {word!r}.")
    return word


def _cluster(address: str) -> str:
    if address != "auto" and not re.fullmatch(r"[^\s:/@]+:\d{1,5}", address):
        raise ValueError(
            "must be auto, for the cluster that this machine belongs to, or its address as"
            f" host:port, such as 10.0.0.1:6379, but got {address!r}."
        )
    return address


ClusterAddress = Annotated[str, AfterValidator(_cluster)]

# A key of two forms is checked against the form that its value has, and against that one only.
Insertion = Annotated[
    Annotated[str, AfterValidator(_mode), _shown_to_editors(MODES), Tag("<word>")]
    | Annotated[Names, Tag("<list>")],
    Discriminator(lambda value: "<word>" if isinstance(value, str) else "<list>"),
]
NumberOfWorkers = Annotated[
    Annotated[str, AfterValidator(_auto), _shown_to_editors(("auto",)), Tag("<word>")]
    | Annotated[Positive, Tag("<number>")],
    Discriminator(lambda value: "<word>" if isinstance(value, str) else "<number>"),
]
LearningRate = Annotated[
    Annotated[PositiveFloat, Tag("<number>")] | Annotated[Range, Tag("<range>")],
    Discriminator(lambda value: "<range>" if isinstance(value, (dict, Range)) else "<number>"),
]


def _fitting(objectives: "tuple[Objective, ...]") -> "tuple[Objective, ...]":
    pairs = [pair for objective in objectives for pair in objective.items()]
    names = [name for _, name in pairs]
    problems = _unknown(names, METRICS)
    problems += [f"{name!r} stands twice." for name in sorted(set(names)) if names.count(name) > 1]
    problems += [
        f"{name} is better the {'greater' if right == 'maximize' else 'smaller'} it is;"
        f" write {{{right}: {name}}}, not {{{direction}: {name}}}."
        for direction, name in pairs
        if name in METRICS and (right := METRICS[name].direction) != direction
    ]
    return _problems(objectives, problems)


Objective = Annotated[dict[Literal["maximize", "minimize"], str], Field(min_length=1, max_length=1)]
Objectives = Annotated[tuple[Objective, ...], Field(min_length=2), AfterValidator(_fitting)]
Bounds = Annotated[dict[Literal["max", "min"], float], Field(min_length=1, max_length=2)]
BoundedMetrics = Annotated[
    dict[str, Bounds],
    Field(min_length=1),
    AfterValidator(lambda constraint: _problems(constraint, _unknown(constraint, METRICS))),
]


def _readable_url(url: str) -> str:
    if has_blank_in_userinfo(url):
        raise ValueError(
            "a user name or password in a URL must not hold blanks; write %20 for a space."
        )
    return url


def _lasting(url: str) -> str:
    if url in ("sqlite://", "sqlite:///:memory:"):
        raise ValueError(f"{url!r} is lost when the command ends; write sqlite:///paradapt.db.")
    return url


def _store_or_server(url: str) -> str:
    if not url.startswith(("sqlite:///", "http://", "https://")):
        raise ValueError(
            "must be a database (sqlite:///mlflow.db) or a tracking server (http://...), but got"
            f" {url!r}."
        )
    return url


StorageUrl = Annotated[str, AfterValidator(_readable_url), AfterValidator(_lasting)]
TrackingUrl = Annotated[str, AfterValidator(_readable_url), AfterValidator(_store_or_server)]
