"""Export a point of the front as a bundle."""

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from search.context import StudyContext, environment, prepare
from search.exits import EXIT_CURVE, EXIT_THRESHOLD
from search.front import structure
from search.objectives import METRICS, formatted
from search.selection import select
from search.store import CONTRACT, check_contract, load_study, redacted
from search.study_file import StudySpec
from space.errors import UserError
from space.spec import AdapterSpec
from trainers.bundle import BundleConfig, check_free, write_bundle
from trainers.flops import measure_gflops
from trainers.model import build, deploy
from trainers.weights import FILE_NAME, read_tensors, trial_folder


def export_study(study: StudySpec, path: Path, choice: str, folder: Path) -> tuple[int, str]:
    """Write the chosen point's structure and weights to `folder`.

    Args:
        study: the checked study file.
        path: where the study file is.
        choice: what `--select` names.
        folder: new, or empty.

    Returns:
        The trial's number and its structure in words.

    Raises:
        UserError: there is no study yet, nothing fits the choice, the study's backbone or data
            changed, the weights are gone, or the folder is in use.
    """
    check_free(folder)
    stored = load_study(study)
    trial = select(
        stored.get_trials(deepcopy=False), stored.directions, study.objective_names, choice
    )
    context = prepare(study, path.resolve().parent, stage=lambda _: None)
    check_contract(stored, context)
    export(context, stored, trial, choice, folder)
    return trial.number, structure(trial)


def export(
    context: StudyContext, stored: optuna.Study, trial: FrozenTrial, choice: str, folder: Path
) -> None:
    """Write one trial's structure and weights to `folder`.

    Raises:
        UserError: the weights are gone or not this structure's, or the folder is in use.
    """
    spec = AdapterSpec.from_json(trial.user_attrs["spec"])
    source = trial_folder(context.weights_folder, trial.number) / FILE_NAME
    state = read_tensors(source)
    model = build(
        context.backbone,
        spec,
        context.n_outputs,
        seed=context.study.seed,
        head=context.task.head,
        ways=context.cost.ways,
    )
    try:
        model.load_trained_state(state)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    config = BundleConfig(
        task=context.study.task,
        backbone=context.study.backbone,
        backbone_fingerprint=context.backbone.fingerprint,
        labels=context.data.labels,
        columns=context.study.columns,
        scale=context.data.scale,
        max_length=context.study.data.max_length,
        spec=spec,
        exit_threshold=trial.user_attrs.get(EXIT_THRESHOLD),
        provenance=_provenance(context, stored, trial, choice),
    )
    n_tokens = round(context.tokens.mean)
    measured = measure_gflops(deploy(model, context.backbone), context.backbone, n_tokens)
    metrics = {**trial.user_attrs["metrics"], "measured_gflops_at_mean_length": measured}
    card = _card(config, trial, metrics, n_tokens)
    write_bundle(folder, config, state, metrics, card)


def _provenance(
    context: StudyContext, stored: optuna.Study, trial: FrozenTrial, choice: str
) -> dict[str, Any]:
    return {
        "study": context.study.name,
        "trial": trial.number,
        "selected_by": choice,
        "seed": context.study.seed,
        "learning": trial.user_attrs["learning"],
        "epochs": context.study.budget.epochs,
        "data_fingerprint": context.data.fingerprint,
        "contract": stored.user_attrs[CONTRACT],
        "environment": environment(),
        "study_file": redacted(context.study).to_yaml(),
    }


def _card(
    config: BundleConfig, trial: FrozenTrial, metrics: dict[str, float], n_tokens: int
) -> str:
    rows = "\n".join(
        f"| {METRICS[name].title} | {formatted(name, value)} |"
        for name, value in metrics.items()
        if name in METRICS
    )
    measured = metrics["measured_gflops_at_mean_length"]
    exits = ", no row leaving early" if config.spec.exits else ""
    return f"""# {config.provenance["study"]}, trial {trial.number}

A trained adapter structure for {config.task}, found by Paradapt.

- Structure: {config.spec.describe()}
- Backbone: {config.backbone} (frozen; fingerprint {config.backbone_fingerprint[:16]})
{_facts(config)}

| on validation data | |
|---|---|
{rows}

One sample of {n_tokens} tokens (the mean length) was counted on the live model at
{measured:.4g} GFLOPs in the deployed form{exits}. Scores are of the validation rows that the search
itself looked at, so they are somewhat too good; no test data were used.

{_experts(trial)}{_exit_curve(config, trial)}## Use

    paradapt predict . --input rows.csv --output predictions.csv

or in Python: `trainers.bundle.load(folder)` and `trainers.predict.predict(bundle, texts)`.
The files are checked against SHA256SUMS, and the backbone against its fingerprint.
"""


def _facts(config: BundleConfig) -> str:
    facts = []
    if config.labels:
        facts.append(f"- Labels: {', '.join(config.labels)}")
    if config.columns.label_separator is not None:
        facts.append("- A row may have several of them; a probability of one half decides.")
    if "image" not in config.what.inputs:
        facts.append(f"- Texts are cut at {config.max_length} tokens.")
    if config.exit_threshold is not None:
        facts.append(f"- A row leaves early where a head is {config.exit_threshold:.3f} sure.")
    return "\n".join(facts)


def _experts(trial: FrozenTrial) -> str:
    """Return how the experts were loaded on validation, where there are any."""
    routing = trial.user_attrs.get("routing")
    if not routing:
        return ""
    rows = "\n".join(
        f"| {adapter['layer']} | {adapter['role']} | "
        + " ".join(f"{share:.0%}" for share in adapter["load"])
        + f" | {adapter['entropy']:.2f} |"
        for adapter in routing
    )
    return f"""## Experts

| layer | role | share of the choices, each expert | entropy of the router (nats) |
|---|---|---|---|
{rows}

"""


def _exit_curve(config: BundleConfig, trial: FrozenTrial) -> str:
    """Return what other thresholds of the early exits gave on validation."""
    curve = trial.user_attrs.get(EXIT_CURVE)
    if not curve:
        return ""
    rows = "\n".join(
        f"| {'never' if point['threshold'] > 1 else format(point['threshold'], '.3f')}"
        f" | {point['value']:.4f} | {point['mean_gflops']:.4g} | "
        + " ".join(f"{share:.0%}" for share in point["shares"])
        + " |"
        for point in curve
    )
    places = ", ".join(map(str, (*config.spec.exits, config.spec.depth)))
    metric = config.what.metrics[0]
    return f"""## Early exits

| leaves where so sure | {metric} | mean GFLOPs | rows answered behind block {places} |
|---|---|---|---|
{rows}

"""
