"""Train one structure of a study, as its trials do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from search.context import StudyContext
from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.fit import FitResult, Report, Tick, fit
from trainers.model import AdaptedModel


def train_structure(
    context: StudyContext,
    spec: AdapterSpec,
    learning: Learning,
    *,
    report: Report,
    tick: Tick,
    rungs: Sequence[float] = (),
    resume: Path | None = None,
    checkpoint: Path | None = None,
    validating: bool = True,
    start: Mapping[str, Tensor] | None = None,
) -> tuple[AdaptedModel, FitResult]:
    """Build a structure and train it for the study's epochs; its frozen prefix is recalled.

    Args:
        context: the study.
        spec: the structure.
        learning: how it is trained.
        report: is told each validation, and says whether to go on.
        tick: is told each step.
        rungs: when to validate besides the end of each epoch, in epochs.
        resume: a checkpoint to go on from.
        checkpoint: where the state is written after each validation before the last step.
        validating: whether validation rows are looked at on the way and at the end.
        start: the weights to begin from, as AdaptedModel.trained_state gives them; None: new ones.

    Raises:
        TrialError: a loss that is not finite, or no memory left.
        UserError: the structure does not fit the backbone, or the checkpoint cannot be read.
        ValueError: the weights to begin from are not this structure's.
    """
    model = context.model_of(spec)
    if start is not None:
        model.load_trained_state(start)
    result = fit(
        model,
        context.data_module(spec),
        context.task,
        learning,
        labels=context.data.labels,
        scale=context.data.scale,
        epochs=context.study.budget.epochs,
        report=report,
        tick=tick,
        rungs=rungs,
        engine=context.engine_of(spec),
        resume=resume,
        checkpoint=checkpoint,
        validating=validating,
    )
    return model, result
