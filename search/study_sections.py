"""The sections of the study file."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from search.pruners import ParetoHalving
from search.study_values import (
    ClusterAddress,
    GranularityName,
    Insertion,
    LearningRate,
    Names,
    Positive,
    PositiveFloat,
    PrecisionName,
    ScalingName,
    Section,
    Share,
)


class Data(Section):
    """Where the rows come from."""

    source: str | None = Field(None, description="A built-in source: docstrings.")
    train: str | None = Field(
        None,
        description="CSV, TSV, JSONL or Parquet file of the rows; words with tags also as CoNLL;"
        " images as a folder with one folder a label, an .npz file, or a table of paths.",
        validate_default=True,
    )
    validation: str | None = Field(
        None, description="The same for validation; absent: a stratified share of the rows."
    )
    test: str | None = Field(
        None, description="The same for the sealed test split, which `confirm` alone reads."
    )
    text: str = Field("text", description="Column of the texts, or of the lists of words.")
    text_pair: str | None = Field(
        None,
        description="Column of the second texts: of text-pair-classification (text_pair, unless"
        " another is named), and of text-regression on pairs.",
    )
    image: str | None = Field(
        None, description="Column of the paths of images, in a table of them; absent: image."
    )
    label: str = Field("label", description="Column of the labels, numbers or lists of tags.")
    label_separator: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="What parts the labels of a row that may have several (text-classification).",
    )
    max_length: Annotated[int, Field(ge=4)] = Field(
        64, description="Longer texts are cut to so many tokens."
    )
    rows: Positive | None = Field(
        None, description="Train on a stratified sample of so many rows; null: on all."
    )
    validation_share: Annotated[float, Field(ge=0.001, le=0.999)] = Field(
        0.2, description="Share of the rows to validate on where no validation file is given."
    )
    test_share: Annotated[float, Field(ge=0.001, le=0.999)] | None = Field(
        None,
        description="Share of the rows to seal off as the test split where no test file is given;"
        " absent: none.",
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

    @field_validator("validation", "test")
    @classmethod
    def _goes_with_train(cls, file: str | None, info: ValidationInfo) -> str | None:
        if file is not None and info.data.get("source") is not None:
            share = " (data.test_share)" if info.field_name == "test" else ""
            raise ValueError(
                f"goes with `data.train`, but got {file!r}; the built-in source"
                f" {info.data['source']!r} is split by itself{share}."
            )
        return file

    @field_validator("test_share")
    @classmethod
    def _leaves_rows(cls, share: float | None, info: ValidationInfo) -> float | None:
        if share is None:
            return None
        if info.data.get("test") is not None:
            raise ValueError(
                "goes with no `data.test`: the test rows come from there or from here."
            )
        held_out = 0.0 if info.data.get("validation") else info.data.get("validation_share", 0.0)
        if share + held_out >= 1:
            raise ValueError(
                f"leaves no row to train on: with data.validation_share it is {share + held_out:g}"
                " of the rows."
            )
        return share


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
    granularity: GranularityName | None = Field(
        None,
        description="How far a role's rank may differ between blocks: global, group, layer; or"
        " coarse-to-fine: one after the other, as the study goes on.",
    )
    alpha: PositiveFloat = Field(16.0, description="Adapters are scaled by alpha and rank.")
    scaling: ScalingName | None = Field(
        None, description="The rule of that scale: alpha/rank or alpha/sqrt(rank)."
    )
    experts: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="Numbers of sparse experts in an adapter; 1 is a plain adapter."
    )
    top_k: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="How many experts serve a token."
    )
    router: Names | None = Field(
        None, description="Experts are chosen for each token, or for a whole sequence."
    )
    token_keep: Annotated[tuple[Share, ...], Field(min_length=1)] | None = Field(
        None, description="Shares of the tokens that run through a frozen block; 1 is all."
    )
    skip_layers: Names | None = Field(
        None, description="Patterns: which blocks tokens may pass by."
    )
    exits: Names | None = Field(
        None, description="Patterns of early exits: none, middle, thirds, every."
    )
    side_width: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="Widths of side networks, where `side` is among the kinds."
    )
    side_layers: Names | None = Field(
        None, description="Patterns: which blocks' outputs a side network reads."
    )
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
    precision: PrecisionName = Field(
        "auto",
        description="Of the frozen weights: float32, bfloat16, or auto: the faster one here.",
    )
    exit_tolerance: Annotated[float, Field(ge=0)] = Field(
        0.005,
        description="How much worse in the first objective early exits may make a structure.",
    )


class Pruning(Section):
    """When the pruner compares trials, and how many of them go on."""

    reduction: Annotated[int, Field(ge=2)] = Field(
        ParetoHalving.reduction,
        description="One trial in so many goes on at a rung; the next rung lies at so many times"
        " its epochs.",
    )
    first_rung: PositiveFloat = Field(
        ParetoHalving.first_rung,
        description="Epochs before the first rung; below 1 within the first epoch.",
    )
    min_peers: Positive = Field(
        ParetoHalving.min_peers,
        description="Other trials that must have reached a rung before it decides anything.",
    )
    patience: Positive = Field(
        ParetoHalving.patience,
        description="Rungs in a row that must speak against a trial before it is stopped.",
    )
    resume: bool = Field(
        False,
        description="Take a stopped trial up again where the trials after it bring it back.",
    )


class Cache(Section):
    """The frozen-prefix cache: hidden states that are the same in every epoch and every trial."""

    gib: Annotated[float, Field(ge=0)] = Field(
        4.0, description="Size on disk, all studies together; 0 turns it off."
    )
    folder: str | None = Field(
        None, description="Where it is; absent: paradapt/prefix in the user's cache folder."
    )


class WorkerEngine(Section):
    """Where workers run, and what each has; it changes no trial that runs alone."""

    ray: ClusterAddress | None = Field(
        None,
        description="A Ray cluster: auto, for the one that this machine belongs to, or host:port;"
        " absent: this machine alone.",
    )
    cores: Positive | None = Field(
        None,
        description="Cores, and threads, of a worker; absent: the machine's, shared out among the"
        " workers, and 1 where `workers` is auto or of a cluster.",
    )
    gpus: PositiveFloat | None = Field(
        None,
        description="GPUs of a worker, such as 0.25: four workers share one; absent: the"
        " machine's, shared out, at most one each.",
    )
    memory_gib: PositiveFloat | None = Field(
        None, description="Memory that a worker needs, by which they are placed."
    )


class Costs(Section):
    """Prices and load, for the report alone: they change no trial, and may change at any time."""

    currency: Annotated[str, Field(min_length=1, max_length=8)] | None = Field(
        None, description="What prices are in, such as EUR, USD or JPY."
    )
    machine_hour: PositiveFloat | None = Field(
        None, description="Price of one hour of the machine that trains and serves."
    )
    watts: PositiveFloat | None = Field(
        None, description="Power that this machine draws while it works."
    )
    electricity_kwh: PositiveFloat | None = Field(
        None, description="Price of one kWh, where electricity is paid beside the machine."
    )
    carbon_g_kwh: PositiveFloat | None = Field(
        None, description="Grams of CO2 equivalents that one kWh stands for."
    )
    requests_day: PositiveFloat | None = Field(
        None, description="Requests (rows) that are to be answered in a day."
    )

    @field_validator("machine_hour", "electricity_kwh")
    @classmethod
    def _in_a_currency(cls, price: float | None, info: ValidationInfo) -> float | None:
        if price is not None and info.data.get("currency", "") is None:
            raise ValueError(
                f"a price needs `costs.currency`, such as EUR, but got {price:g} alone."
            )
        return price

    @field_validator("electricity_kwh", "carbon_g_kwh")
    @classmethod
    def _of_known_power(cls, amount: float | None, info: ValidationInfo) -> float | None:
        if amount is not None and info.data.get("watts", 0.0) is None:
            raise ValueError(
                "needs `costs.watts`, the power that the machine draws, since energy is power times"
                f" time, but got {amount:g} alone."
            )
        return amount
