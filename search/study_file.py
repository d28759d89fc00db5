"""The study file: the contract between the user and Paradapt. Checked before anything runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from search.baselines import BASELINES
from search.objectives import METRICS, Constraint
from search.pruners import PRUNERS
from search.samplers import SAMPLERS
from search.study_errors import messages_of
from search.yaml_text import dump_yaml, parse_yaml
from space.cost import BackboneShape
from space.errors import UserError, close_matches
from space.kinds import KINDS, kinds_for
from space.search_space import FloatRange, SearchSpace, default_space, problems_in

Positive = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Section(BaseModel):
    """A part of the study file: unknown keys are refused, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(_Section):
    """Where the rows come from."""

    source: str | None = Field(None, description="A built-in source: docstrings.")
    train: str | None = Field(None, description="CSV, TSV, JSONL or Parquet file of the rows.")
    validation: str | None = Field(
        None, description="The same for validation; absent: a stratified share of the rows."
    )
    text: str = Field("text", description="Column of the texts.")
    label: str = Field("label", description="Column of the labels.")
    max_length: Annotated[int, Field(ge=4)] = Field(
        64, description="Longer texts are cut to so many tokens."
    )
    rows: Positive | None = Field(
        None, description="Train on a stratified sample of so many rows; null: on all."
    )
    validation_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="Share of the rows to validate on where no validation file is given."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.train is None):
            raise ValueError(
                "give either `source` (a built-in source) or `train` (a file), and one of them only"
            )
        if self.source is not None and self.validation is not None:
            raise ValueError("`validation` goes with `train`; a built-in source is split by itself")
        return self


class Range(_Section):
    """A range of numbers, both ends included."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    log: bool = Field(False, description="Spread evenly in the logarithm.")

    @model_validator(mode="after")
    def _low_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, but got {self.low} and {self.high}")
        return self


class Space(_Section):
    """What may be sampled; a key left out has the default of the backbone."""

    depth: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="How many blocks of the backbone run."
    )
    insertion: Literal["windows", "free"] | Names | None = Field(
        None, description="Which blocks carry adapters: patterns, or windows, or free."
    )
    roles: Names | None = Field(None, description="Sub-modules that may be adapted.")
    kinds: Names | None = Field(None, description="Adapter kinds.")
    rank: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="Low-rank sizes and inner widths."
    )
    alpha: Annotated[float, Field(gt=0)] = Field(
        16.0, description="Adapters are scaled by alpha / rank."
    )
    pooling: Names | None = Field(None, description="How a sequence becomes one vector.")
    learning_rate: Annotated[float, Field(gt=0)] | Range | None = Field(
        None, description="Of the adapters: one value, or a range."
    )
    head_learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-2, description="Of pooling and head, in all structures."
    )


class Budget(_Section):
    """What the study may spend."""

    trials: Positive = Field(24, description="Trials that are trained, baselines included.")
    epochs: Positive = Field(4, description="Epochs of a trial that is not pruned.")
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="No trial begins after so many minutes of one run of the command."
    )


class Training(_Section):
    """What all trials have in common."""

    batch_size: Positive = Field(32, description="Rows of a training step.")


Objective = Annotated[dict[Literal["maximize", "minimize"], str], Field(min_length=1, max_length=1)]
Bound = Annotated[dict[Literal["max", "min"], float], Field(min_length=1, max_length=2)]


class StudySpec(_Section):
    """A whole study file, with every default filled in."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")] = Field(
        description="Name of the study, of its MLflow experiment and of its folder of weights."
    )
    task: Literal["text-classification"] = Field(description="What is learned.")
    backbone: Annotated[str, Field(min_length=1)] = Field(
        description="A bundled name (minilm), a local folder, or a Hugging Face model id."
    )
    data: Data
    space: Space = Space()
    objectives: Annotated[tuple[Objective, ...], Field(min_length=2)] = Field(
        ({"maximize": "accuracy"}, {"minimize": "inference_gflops"}),
        description="Two or more: {maximize: accuracy}, {minimize: inference_gflops}, ...",
    )
    constraints: tuple[dict[str, Bound], ...] = Field(
        (), description="Bounds that must hold, such as {trainable_params: {max: 500000}}."
    )
    budget: Budget = Budget()
    training: Training = Training()
    baselines: tuple[str, ...] = Field(
        tuple(BASELINES), description="Fixed structures that are trained first."
    )
    sampler: str = Field("tpe", description="Optuna's sampler: " + ", ".join(SAMPLERS) + ".")
    pruner: str = Field("pareto-halving", description="One of " + ", ".join(PRUNERS) + ".")
    workers: Literal[1] = Field(1, description="Trials that are trained side by side.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Of everything that is random.")
    storage: str = Field("sqlite:///paradapt.db", description="Optuna's storage.")
    tracking: str = Field("sqlite:///mlflow.db", description="MLflow's tracking store.")
    artifacts: str = Field(
        "paradapt-artifacts", description="Folder of the trained weights of each trial."
    )

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        problems = [
            *_unknown("sampler", (self.sampler,), SAMPLERS),
            *_unknown("pruner", (self.pruner,), PRUNERS),
            *_unknown("baselines", self.baselines, BASELINES),
            *_objective_problems(self.objectives),
            *_unknown("constraints", [n for c in self.constraints for n in c], METRICS),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def objective_names(self) -> tuple[str, ...]:
        """The metrics that are optimised, in the order of the file."""
        return tuple(name for objective in self.objectives for name in objective.values())

    @property
    def directions(self) -> tuple[str, ...]:
        """`maximize` or `minimize` for each objective."""
        return tuple(direction for objective in self.objectives for direction in objective)

    @property
    def bounds(self) -> tuple[Constraint, ...]:
        """The constraints, one bound each."""
        return tuple(
            Constraint(metric=name, bound=bound, limit=limit)
            for constraint in self.constraints
            for name, limits in constraint.items()
            for bound, limit in limits.items()
        )

    def search_space(self, shape: BackboneShape) -> SearchSpace:
        """Return the space on a backbone, its defaults filled in.

        Raises:
            UserError: the space does not fit the backbone; all problems at once.
        """
        own = {k: v for k, v in dict(self.space).items() if v is not None}
        rate = own.get("learning_rate")
        if isinstance(rate, Range):
            own["learning_rate"] = FloatRange(low=rate.low, high=rate.high, log=rate.log)
        fields = dict(vars(default_space(shape))) | own
        # A default must not clash with what the user chose: it is cut to what fits.
        if "roles" not in own and set(fields["kinds"]) <= set(KINDS):
            fields["roles"] = tuple(r for r in fields["roles"] if kinds_for(r, fields["kinds"]))
        if "kinds" not in own:
            fields["kinds"] = tuple(
                k for k in fields["kinds"] if set(KINDS[k].roles) & set(fields["roles"])
            )
        space = SearchSpace(**fields)
        problems = problems_in(space, shape)
        if problems:
            raise UserError(problems)
        return space

    def to_yaml(self) -> str:
        """Return the resolved study file, every default written out."""
        return dump_yaml(self.model_dump(mode="json"))


def _unknown(key: str, names: Sequence[str], known: Any) -> list[str]:
    return [
        f"{key}: {name!r} is unknown; the names are {', '.join(known)}."
        + close_matches(name, known)
        for name in names
        if name not in known
    ]


def _objective_problems(objectives: Sequence[dict[Any, str]]) -> list[str]:
    pairs = [pair for objective in objectives for pair in objective.items()]
    names = [name for _, name in pairs]
    problems = _unknown("objectives", names, METRICS)
    problems += [
        f"objectives: {name!r} stands twice."
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    problems += [
        f"objectives: {name} is better the {'greater' if right == 'maximize' else 'smaller'} it is;"
        f" write {{{right}: {name}}}, not {{{direction}: {name}}}."
        for direction, name in pairs
        if name in METRICS and (right := METRICS[name].direction) != direction
    ]
    return problems


def load_study_file(path: Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Read and check a study file; every relative path in it becomes absolute.

    Args:
        path: the YAML file. Relative paths in it are relative to its folder.
        overrides: `key.path=value` texts, values as YAML.

    Raises:
        UserError: the file or an override is wrong; all problems at once.
    """
    raw = _read_mapping(path)
    for override in overrides:
        _apply_override(raw, override)
    try:
        study = StudySpec.model_validate(_with_tuples(raw))
    except ValidationError as error:
        raise UserError([f"{path}: {m}" for m in messages_of(error, StudySpec)]) from error
    return _resolve_paths(study, path.resolve().parent)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such study file.") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: this is a folder; give the study file in it.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: the study file cannot be read as UTF-8 text ({error})."
        ) from error
    try:
        raw = parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{path}: not YAML: {error}.") from error
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise UserError(f"{path}: a study file is a mapping (`name: ...`), but it holds {found}.")
    return raw


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override}: write key.path=value, such as budget.trials=8.")
    *parents, last = key.strip().split(".")
    section = raw
    for name in parents:
        below = section.setdefault(name, {})
        if not isinstance(below, dict):
            raise UserError(f"--set {override}: `{name}` is not a section, so nothing is below it.")
        section = below
    try:
        section[last] = parse_yaml(text)
    except ValueError as error:
        raise UserError(f"--set {override}: the value is not YAML: {error}.") from error


def _with_tuples(value: Any) -> Any:
    """Return YAML's lists as tuples, which is what the frozen sections hold."""
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(_with_tuples(inner) for inner in value) if isinstance(value, list) else value


def _resolve_paths(study: StudySpec, folder: Path) -> StudySpec:
    def absolute(name: str | None) -> str | None:
        return None if name is None else str(folder / Path(name).expanduser())

    data = study.data.model_copy(
        update={key: absolute(getattr(study.data, key)) for key in ("train", "validation")}
    )
    local_backbone = folder / Path(study.backbone).expanduser()
    return study.model_copy(
        update={
            "data": data,
            "backbone": str(local_backbone) if local_backbone.is_dir() else study.backbone,
            "storage": _absolute_url(study.storage, folder),
            "tracking": _absolute_url(study.tracking, folder),
            "artifacts": absolute(study.artifacts),
        }
    )


def _absolute_url(url: str, folder: Path) -> str:
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url.startswith(prefix + "/"):
        return url
    return prefix + str(folder / url.removeprefix(prefix))
