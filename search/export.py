"""Export a point of the front as a bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from search.card import model_card
from search.context import StudyContext, prepare
from search.environment import environment
from search.exits import EXIT_CURVE, EXIT_THRESHOLD, exit_metric
from search.front import structure
from search.refresh import refresh_pages
from search.selection import select
from search.snapshot import CHOSEN
from search.store import CONTRACT, check_contract, load_study, redacted
from search.study_file import StudySpec
from space.errors import UserError
from space.spec import AdapterSpec
from trainers.bundle import BundleConfig, check_free, write_bundle
from trainers.flops import measure_gflops
from trainers.model import deploy
from trainers.weights import FILE_NAME, read_tensors, trial_folder


def export_study(
    study: StudySpec, path: Path, choice: str, folder: Path, tell: Callable[[str], None]
) -> tuple[int, str]:
    """Write the chosen point's structure and weights to `folder`, and mark it as the choice.

    Args:
        study: the checked study file.
        path: where the study file is.
        choice: what `--select` names.
        folder: new, or empty.
        tell: is told where MLflow's pages could not be brought up to date.

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
    stored.set_user_attr(CHOSEN, trial.number)
    refresh_pages(stored, study, path, tell)
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
    model = context.model_of(spec)
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
    if EXIT_CURVE in trial.user_attrs:
        metrics[EXIT_CURVE] = trial.user_attrs[EXIT_CURVE]
    card = model_card(config, trial, metrics, n_tokens, exit_metric(context))
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
