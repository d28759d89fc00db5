"""The study file: the contract between the user and Paradapt. Checked before anything runs."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from search.baselines import BASELINES
from search.objectives import Constraint
from search.pruners import Pruner, make_pruner
from search.starting_points import DEFAULT_STARTING_POINTS, misfits
from search.study_errors import in_words, messages_of
from search.study_sections import (
    Budget,
    Cache,
    Costs,
    Data,
    Pruning,
    Space,
    Training,
    WorkerEngine,
)
from search.study_values import (
    BaselineName,
    BoundedMetrics,
    NumberOfWorkers,
    Objectives,
    PriorName,
    PrunerName,
    Range,
    SamplerName,
    Section,
    StartingPointName,
    StorageUrl,
    TaskName,
    TrackingUrl,
)
from search.task_keys import default_objectives, misplaced_keys, not_given
from search.yaml_text import dump_yaml, parse_yaml
from space.cost import BackboneShape, HeadShape
from space.default_space import default_space, keys_without_use, problems_in
from space.errors import UserError
from space.kinds import kinds_for
from space.search_space import FloatRange, SearchSpace
from space.side import SPACE_KINDS
from trainers.columns import Columns
from trainers.tasks import Task, task_of


class StudySpec(Section):
    """A whole study file, with every default filled in."""

    name: Annotated[
        str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    ] = Field(
        description="Name of the study, of its MLflow experiment and of its folder of weights."
    )
    task: TaskName = Field(description="What is learned.")
    backbone: Annotated[str, Field(min_length=1)] = Field(
        description="A bundled name (minilm), a local folder, or a Hugging Face model id."
    )
    data: Data
    space: Space = Space()
    objectives: Objectives = Field(
        default_factory=tuple,  # filled in before, unless the task is wrong
        description="Two or more: {maximize: accuracy}, {minimize: inference_gflops}, ...; absent:"
        " the task's first metric and inference_gflops.",
    )
    constraints: tuple[BoundedMetrics, ...] = Field(
        (), description="Bounds that must hold, such as {trainable_params: {max: 500000}}."
    )
    budget: Budget = Budget()
    training: Training = Training()
    cache: Cache = Cache()
    baselines: tuple[BaselineName, ...] = Field(
        tuple(BASELINES), description="Fixed structures that are trained first."
    )
    starting_points: tuple[StartingPointName, ...] = Field(
        DEFAULT_STARTING_POINTS,
        description="Structures of the space that are tried next: what often does well.",
    )
    sampler: SamplerName = Field("tpe", description="Optuna's sampler.")
    sampler_prior: PriorName = Field(
        "none",
        description="side: a side network and a head behind each depth tell first where the signal"
        " is, and the search begins there.",
    )
    pruner: PrunerName = Field("pareto-halving", description="What stops bad trials early.")
    pruning: Pruning = Pruning()
    workers: NumberOfWorkers = Field(
        1,
        description="Trials that are trained side by side; auto: as many as cores, memory and GPUs"
        " allow.",
    )
    engine: WorkerEngine = WorkerEngine()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Of everything that is random."
    )
    storage: StorageUrl = Field("sqlite:///paradapt.db", description="Optuna's storage.")
    tracking: TrackingUrl = Field("sqlite:///mlflow.db", description="MLflow's tracking store.")
    artifacts: str = Field(
        "paradapt-artifacts", description="Folder of the trained weights of each trial."
    )
    costs: Costs = Costs()

    @model_validator(mode="before")
    @classmethod
    def _with_objectives(cls, raw: Any) -> Any:
        """Fill in the objectives, which depend on the task."""
        if not isinstance(raw, dict) or "objectives" in raw:
            return raw
        objectives = default_objectives(raw)
        return raw if objectives is None else {**raw, "objectives": objectives}

    @field_validator("data")
    @classmethod
    def _fits_task(cls, data: Data, info: ValidationInfo) -> Data:
        if "task" not in info.data:
            return data
        problems = misplaced_keys(info.data["task"], data)
        if problems:
            raise ValueError("\n".join(problems))
        if info.data["task"] == "text-pair-classification" and data.text_pair is None:
            return data.model_copy(update={"text_pair": "text_pair"})
        return data

    @field_validator("objectives", "constraints")
    @classmethod
    def _given_by_task(cls, wanted: Any, info: ValidationInfo) -> Any:
        if not {"task", "data"} <= info.data.keys():
            return wanted
        task = task_of(info.data["task"], label_separator=info.data["data"].label_separator)
        are_objectives = info.field_name == "objectives"
        names = [name for e in wanted for name in (e.values() if are_objectives else e)]
        problems = not_given(task, names)
        if problems:
            raise ValueError("\n".join(problems))
        return wanted

    @property
    def what(self) -> Task:
        """The task, as the data make it."""
        return task_of(
            self.task,
            label_separator=self.data.label_separator,
            text_pair=self.data.text_pair,
        )

    @property
    def columns(self) -> Columns:
        """What the columns of the data are called."""
        return Columns(
            text=self.data.text,
            text_pair=self.data.text_pair,
            label=self.data.label,
            image=self.data.image or "image",
            label_separator=self.data.label_separator,
        )

    @property
    def stopping(self) -> Pruner:
        """The pruner, with its settings."""
        return make_pruner(self.pruner, **self.pruning.model_dump(exclude={"resume"}))

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

    def search_space(self, shape: BackboneShape, head: HeadShape) -> SearchSpace:
        """Return the space on a backbone for this task, its defaults filled in.

        Raises:
            UserError: the space does not fit the backbone; all problems at once.
        """
        own = {k: v for k, v in dict(self.space).items() if v is not None}
        rate = own.get("learning_rate")
        if isinstance(rate, Range):
            own["learning_rate"] = FloatRange(low=rate.low, high=rate.high, log=rate.log)
        fields = dict(vars(default_space(shape, head))) | own
        # A default must not clash with what the user chose: it is cut to what fits.
        if "roles" not in own and set(fields["kinds"]) <= set(SPACE_KINDS):
            fields["roles"] = tuple(r for r in fields["roles"] if kinds_for(r, fields["kinds"]))
        if "kinds" not in own:
            fields["kinds"] = tuple(
                k for k in fields["kinds"] if any(kinds_for(r, (k,)) for r in fields["roles"])
            )
        space = SearchSpace(**fields)
        problems = problems_in(space, shape, head) + keys_without_use(own, space.kinds)
        if self.what.labels == "number" and set(space.exits) != {"none"}:
            problems.append(
                "space.exits: a number tells nothing of how sure it is, so that no row can leave"
                " early. Leave the key out."
            )
        problems = problems or misfits(self.starting_points, space)
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
        for key in ("train", "validation", "test")
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
            "cache": _absolute_cache(study.cache, folder),
        }
    )


def _absolute(name: str, folder: Path) -> str:
    return str(folder / os.path.expanduser(name))  # noqa: PTH111 (~nobody stays as it is)


def _absolute_cache(cache: Cache, folder: Path) -> Cache:
    if cache.folder is None:
        return cache
    return cache.model_copy(update={"folder": _absolute(cache.folder, folder)})


def _absolute_url(url: str, folder: Path) -> str:
    """Return an SQLite URL with its file made absolute; any other URL as it is."""
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/].*)", url)
    return f"{match[1]}{folder / match[2]}" if match else url


def schema() -> str:
    """Return the JSON schema of the study file, for editors (studies/study.schema.json)."""
    return json.dumps(StudySpec.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":  # python -m search.study_file > studies/study.schema.json
    print(schema(), end="")
