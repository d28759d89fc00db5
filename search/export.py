"""Export a point of the front, trained, in one of the formats."""

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
from search.registry import Registry
from search.selection import select
from search.snapshot import CHOSEN
from search.store import CONTRACT, check_contract, load_study, redacted
from search.study_file import StudySpec
from space.errors import UserError
from space.spec import AdapterSpec
from trainers.bundle import BundleConfig, LoadedBundle
from trainers.export.format import Format, Options, Source
from trainers.export.writing import write_export
from trainers.flops import measure_gflops
from trainers.folder import check_free
from trainers.model import build, deploy
from trainers.outline import Outline
from trainers.weights import FILE_NAME, read_tensors, trial_folder


def export_study(
    study: StudySpec,
    path: Path,
    choice: str,
    folder: Path,
    form: Format,
    options: Options,
    tell: Callable[[str], None],
) -> tuple[int, str]:
    """Write the chosen point, trained, to `folder` in one format, and mark it as the choice.

    Args:
        study: the checked study file.
        path: where the study file is.
        choice: what `--select` names.
        folder: new, or empty.
        form: the format.
        options: what else the user asked of it.
        tell: is told where MLflow's pages could not be brought up to date, and what the export was
            registered as.

    Returns:
        The trial's number and its structure in words.

    Raises:
        UserError: there is no study yet, nothing fits the choice, the study's backbone or data
            changed, the weights are gone, the format cannot express the structure, or the folder is
            in use.
    """
    check_free(folder)
    stored = load_study(study)
    trial = select(
        stored.get_trials(deepcopy=False), stored.directions, study.objective_names, choice
    )
    context = prepare(study, path.resolve().parent, stage=lambda _: None)
    check_contract(stored, context)
    # Asked before anything is written; where the format takes no name, write_export says so.
    name = options.register if "register" in form.options else None
    registry = None if name is None else Registry(study, trial.number, name)
    write_export(form, source_of_trial(context, stored, trial, choice), folder, options)
    stored.set_user_attr(CHOSEN, trial.number)
    refresh_pages(stored, study, path, tell)
    if registry is not None:
        tell(registry.register(folder))
    return trial.number, structure(trial)


def source_of_trial(
    context: StudyContext, stored: optuna.Study, trial: FrozenTrial, choice: str
) -> Source:
    """Return a trial's structure with its weights, ready to be written in any format.

    Args:
        context: of the study.
        stored: the study.
        trial: with stored weights.
        choice: what selected it.

    Raises:
        UserError: the weights are gone or not this structure's.
    """
    spec = AdapterSpec.from_json(trial.user_attrs["spec"])
    source = trial_folder(context.weights_folder, trial.number) / FILE_NAME
    state = read_tensors(source)
    # On the frozen weights as they were loaded: a study may have trained on them in bfloat16.
    model = build(
        context.backbone,
        spec,
        context.n_outputs,
        seed=0,
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
    if EXIT_CURVE in trial.user_attrs:
        metrics[EXIT_CURVE] = trial.user_attrs[EXIT_CURVE]
    return Source(
        bundle=LoadedBundle(config=config, backbone=context.backbone, model=model),
        rows=context.validation,
        n_tokens=n_tokens,
        metrics=metrics,
        card=model_card(config, trial, metrics, n_tokens, exit_metric(context)),
    )


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
        "backbone_shape": Outline.of(context.backbone).to_dict(),
        "study_file": redacted(context.study).to_yaml(),
    }
