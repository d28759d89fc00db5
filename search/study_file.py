"""The study file: the contract between the user and Paradapt. Checked before anything runs."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from search.baselines import BASELINES
from search.objectives import Constraint
from search.study_errors import in_words, messages_of
from search.study_values import (
    BaselineName,
    BoundedMetrics,
    Insertion,
    LearningRate,
    Names,
    Objectives,
    Positive,
    PositiveFloat,
    PrunerName,
    Range,
    SamplerName,
    Section,
    StorageUrl,
    TrackingUrl,
)
from search.yaml_text import dump_yaml, parse_yaml
from space.cost import BackboneShape
from space.errors import UserError
from space.kinds import KINDS, kinds_for
from space.search_space import FloatRange, SearchSpace, default_space, problems_in


class Data(Section):
    """Where the rows come from."""

    source: str | None = Field(None, description="A built-in source: docstrings.")
    train: str | None = Field(
        None,
        description="CSV, TSV, JSONL or Parquet file of the rows.",
        validate_default=True,
    )
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
    validation_share: Annotated[float, Field(ge=0.001, le=0.999)] = Field(
        0.2, description="Share of the rows to validate on where no validation file is given."
    )

    # Checks between keys stand at the later key, so that all other keys are checked as well.
    @field_validator("train")
    @classmethod
    def _one_origin(cls, train: str | None, info: ValidationInfo) -> str | None:
        if "source" in info.data and (info.data["source"] is None) == (train is None):
            raise ValueError(
                "give either `data.source` (a built-in source) or `data.train` (a file), and one of"
                f" them only, but got {'none' if train is None else 'both'}."
            )
        return train

    @field_validator("validation")
    @classmethod
    def _goes_with_train(cls, validation: str | None, info: ValidationInfo) -> str | None:
        if validation is not None and info.data.get("source") is not None:
            raise ValueError(
                f"goes with `data.train`, but got {validation!r}; the built-in source"
                f" {info.data['source']!r} is split by itself."
            )
        return validation


class Space(Section):
    """What may be sampled; a key left out has the default of the backbone."""

    depth: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="How many blocks of the backbone run."
    )
    insertion: Insertion | None = Field(
        None,
        description="Which blocks carry adapters: a list of patterns, or windows, or free.",
    )
    roles: Names | None = Field(None, description="Sub-modules that may be adapted.")
    kinds: Names | None = Field(None, description="Adapter kinds.")
    rank: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="Low-rank sizes and inner widths."
    )
    alpha: PositiveFloat = Field(16.0, description="Adapters are scaled by alpha / rank.")
    pooling: Names | None = Field(None, description="How a sequence becomes one vector.")
    learning_rate: LearningRate | None = Field(
        None, description="Of the adapters: one value, or a range."
    )
    head_learning_rate: PositiveFloat = Field(
        1e-2, description="Of pooling and head, in all structures."
    )


class Budget(Section):
    """What the study may spend."""

    trials: Positive = Field(24, description="Trials that are trained, baselines included.")
    epochs: Positive = Field(4, description="Epochs of a trial that is not pruned.")
    minutes: PositiveFloat | None = Field(
        None, description="No trial begins after so many minutes of one run of the command."
    )


class Training(Section):
    """What all trials have in common."""

    batch_size: Positive = Field(32, description="Rows of a training step.")


class StudySpec(Section):
    """A whole study file, with every default filled in."""

    name: Annotated[
        str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    ] = Field(
        description="Name of the study, of its MLflow experiment and of its folder of weights."
    )
    task: Literal["text-classification"] = Field(description="What is learned.")
    backbone: Annotated[str, Field(min_length=1)] = Field(
        description="A bundled name (minilm), a local folder, or a Hugging Face model id."
    )
    data: Data
    space: Space = Space()
    objectives: Objectives = Field(
        ({"maximize": "accuracy"}, {"minimize": "inference_gflops"}),
        description="Two or more: {maximize: accuracy}, {minimize: inference_gflops}, ...",
    )
    constraints: tuple[BoundedMetrics, ...] = Field(
        (), description="Bounds that must hold, such as {trainable_params: {max: 500000}}."
    )
    budget: Budget = Budget()
    training: Training = Training()
    baselines: tuple[BaselineName, ...] = Field(
        tuple(BASELINES), description="Fixed structures that are trained first."
    )
    sampler: SamplerName = Field("tpe", description="Optuna's sampler.")
    pruner: PrunerName = Field("pareto-halving", description="What stops bad trials early.")
    workers: Literal[1] = Field(1, description="Trials that are trained side by side.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Of everything that is random."
    )
    storage: StorageUrl = Field("sqlite:///paradapt.db", description="Optuna's storage.")
    tracking: TrackingUrl = Field("sqlite:///mlflow.db", description="MLflow's tracking store.")
    artifacts: str = Field(
        "paradapt-artifacts", description="Folder of the trained weights of each trial."
    )

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
        found = "nothing" if raw is None else in_words(raw)
        raise UserError(f"{path}: a study file is a mapping (`name: ...`), but it holds {found}.")
    return raw


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *parents, last = (part.strip() for part in key.split("."))
    if not equals or not all((*parents, last)):
        raise UserError(f"--set {override}: write key.path=value, such as budget.trials=8.")
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
    files = {
        key: _absolute(name, folder)
        for key in ("train", "validation")
        if (name := getattr(study.data, key)) is not None
    }
    local_backbone = _absolute(study.backbone, folder)
    return study.model_copy(
        update={
            "data": study.data.model_copy(update=files),
            # os.path: a name that no file can have is no folder, and no error here.
            "backbone": local_backbone if os.path.isdir(local_backbone) else study.backbone,  # noqa: PTH112
            "storage": _absolute_url(study.storage, folder),
            "tracking": _absolute_url(study.tracking, folder),
            "artifacts": _absolute(study.artifacts, folder),
        }
    )


def _absolute(name: str, folder: Path) -> str:
    return str(folder / os.path.expanduser(name))  # noqa: PTH111 (~nobody stays as it is)


def _absolute_url(url: str, folder: Path) -> str:
    """Return an SQLite URL with its file made absolute; any other URL as it is."""
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/].*)", url)
    return f"{match[1]}{folder / match[2]}" if match else url


def schema() -> str:
    """Return the JSON schema of the study file, for editors (studies/study.schema.json)."""
    return json.dumps(StudySpec.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":  # python -m search.study_file > studies/study.schema.json
    print(schema(), end="")
