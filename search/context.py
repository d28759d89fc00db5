"""Everything that the trials of a study share: made once, read by all, changed by none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from search.study_file import StudySpec
from space.cost import CostModel, TokenStats
from space.errors import UserError
from space.search_space import SearchSpace
from space.spec import AdapterSpec
from trainers.backbone import Backbone, load_backbone
from trainers.bundle import head_shape, n_outputs
from trainers.cache import PrefixStore, Recaller, default_folder
from trainers.calibration import ways
from trainers.data import (
    StudyDataModule,
    Table,
    TaskData,
    encode,
    load_data,
    token_stats,
)
from trainers.engine import FLOAT32, Engine, choose_engine, default_device, prepared
from trainers.model import AdaptedModel, build
from trainers.tasks import Task

VALIDATION_FACTOR = 2
"""Of how many training batches a validation batch is: without a backward pass nothing is kept for
it. Larger ones no longer fit a processor's cache: four times as many rows took a fifth longer. The
answers of a language model are wide themselves, so that its batches stay as they are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyContext:
    """One study's backbone, space and data. The backbone is one, the tokens are made once."""

    study: StudySpec
    task: Task
    backbone: Backbone
    space: SearchSpace
    data: TaskData
    train: Table
    validation: Table
    cost: CostModel
    """Of the training rows at their real lengths."""
    engine: Engine
    """How the frozen blocks run in training."""
    prepared: Mapping[Engine, Backbone]
    """The backbone as each engine that trials use runs it."""
    store: PrefixStore | None
    """The frozen-prefix cache; None where it is off."""

    @property
    def tokens(self) -> TokenStats:
        """Tokens of the training rows."""
        return self.cost.tokens

    @property
    def n_outputs(self) -> int:
        """Width of the head: how many labels there are, one number, or the vocabulary."""
        return self.cost.head.n_outputs

    @property
    def weights_folder(self) -> Path:
        """Where the trained weights of this study's trials are."""
        return Path(self.study.artifacts) / self.study.name

    def engine_of(self, spec: AdapterSpec) -> Engine:
        """Return how the frozen blocks run for a structure: a prefix has its own attention."""
        if any(adapter.kind == "prefix" for adapter in spec.adapters):
            return replace(self.engine, attention=FLOAT32.attention)
        return self.engine

    def model_of(self, spec: AdapterSpec) -> AdaptedModel:
        """Build a structure of this study for training.

        Raises:
            UserError: it does not fit the backbone.
        """
        return build(
            self.prepared[self.engine_of(spec)],
            spec,
            self.n_outputs,
            seed=self.study.seed,
            head=self.task.head,
            ways=self.cost.ways,
        )

    def data_module(self, spec: AdapterSpec) -> StudyDataModule:
        """Return the batches for a structure, with what is known of its frozen prefix."""
        return StudyDataModule(
            train=self.recalled(self.train, spec),
            validation=self.recalled(self.validation, spec),
            batch_size=self.study.training.batch_size,
            validation_factor=self.validation_factor,
            seed=self.study.seed,
        )

    @property
    def validation_factor(self) -> int:
        """Of how many training batches a batch is that is scored only."""
        return 1 if self.task.head == "lm" else VALIDATION_FACTOR

    def recalled(self, table: Table, spec: AdapterSpec) -> Table:
        """Return rows with what is known of a structure's frozen prefix."""
        if self.store is None:
            return table
        engine = self.engine_of(spec)
        recaller = Recaller(backbone=self.prepared[engine], engine=engine, store=self.store)
        return recaller.recall(table, spec.boundaries, default_device())


def prepare(
    study: StudySpec,
    folder: Path,
    stage: Callable[[str], None],
    tell: Callable[[str], None] | None = None,
    engine: Engine | None = None,
) -> StudyContext:
    """Load and check all that a study needs, and measure how this machine runs it best.

    Args:
        study: the checked study file.
        folder: the study file's folder.
        stage: is told what is being done, for the user to see.
        tell: is told, in a sentence, what went wrong beside the way later on; None: `stage`.
        engine: how the frozen blocks run; None: as is fastest here.

    Raises:
        UserError: the backbone, the space on it, or the data are wrong.
    """
    task = study.what
    stage("loading the backbone")
    backbone = load_backbone(study.backbone, folder, study.task)
    if backbone.image is None and study.data.max_length > backbone.max_tokens:
        raise UserError(
            f"data.max_length: must be at most {backbone.max_tokens}, which is all that the"
            f" backbone {study.backbone!r} has positions for, but got {study.data.max_length}."
        )
    # What the space may hold depends on the kind of head alone, so that it is checked at once.
    study.search_space(backbone.shape, head_shape(task, n_outputs=1))
    stage("reading the data")
    data = load_data(
        task,
        source=study.data.source,
        train=_path(study.data.train),
        validation=_path(study.data.validation),
        columns=study.columns,
        rows=study.data.rows,
        validation_share=study.data.validation_share,
        test_share=study.data.test_share,
        seed=study.seed,
        image=backbone.image,
    )
    stage("tokenising" if backbone.image is None else "preparing the images")
    train = encode(data.train, task, backbone, study.data.max_length)
    validation = encode(data.validation, task, backbone, study.data.max_length)
    told = (("training", train), ("validation", validation))
    notices = [f"{side}: {notice}" for side, table in told for notice in table.notices]
    head = head_shape(task, n_outputs(task, data.labels, backbone))
    tokens = token_stats(train)
    if engine is None:
        stage("measuring what is fast on this machine")
        engine = choose_engine(
            backbone, study.training.precision, study.training.batch_size, round(tokens.mean)
        )
    return StudyContext(
        study=study,
        task=task,
        backbone=backbone,
        space=study.search_space(backbone.shape, head),
        data=replace(data, notices=(*data.notices, *notices)),
        train=train,
        validation=validation,
        cost=CostModel(shape=backbone.shape, head=head, tokens=tokens, ways=ways()),
        engine=engine,
        prepared=_prepared(backbone, engine),
        store=_store(study, tell or stage),
    )


def _prepared(backbone: Backbone, engine: Engine) -> dict[Engine, Backbone]:
    engines = {engine, replace(engine, attention=FLOAT32.attention)}
    return {own: prepared(backbone, own) for own in engines}


def _store(study: StudySpec, tell: Callable[[str], None]) -> PrefixStore | None:
    if study.cache.gib == 0:
        return None
    folder = Path(study.cache.folder) if study.cache.folder else default_folder()
    return PrefixStore(folder, int(study.cache.gib * 2**30), tell)


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
