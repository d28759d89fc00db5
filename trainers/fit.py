"""Train one structure with Lightning, and tell what came of it.

Metrics have one road: those of each validation go through `report`, and all of them are in the
FitResult.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from space.search_space import Learning
from trainers.checkpoint import Checkpoint
from trainers.data import StudyDataModule, TargetScale
from trainers.engine import FLOAT32, Engine, default_device
from trainers.fit_module import FitModule, Plan
from trainers.memory import keep_freed_memory, reset_peak_memory, want_of_memory_told
from trainers.metrics import Meter, meter_of
from trainers.model import AdaptedModel
from trainers.reports import EpochReport, ExitAnswers, Report, Tick
from trainers.tasks import Task

__all__ = ["EpochReport", "ExitAnswers", "FitResult", "Report", "Tick", "fit"]

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What the training of one structure gave."""

    metrics: Mapping[str, float]
    """Of the last validation, with train_s and peak_memory_mib."""
    history: tuple[EpochReport, ...]
    """Where a training went on from a checkpoint, with what came before."""
    stopped: bool
    """Whether `report` ended it before its last epoch."""
    routing: tuple[Mapping[str, Any], ...]
    """For each adapter of sparse experts its layer, role, load and entropy on validation."""
    exits: ExitAnswers | None
    """Where the structure has early exits: what each said of the validation rows."""


def fit(
    model: AdaptedModel,
    data: StudyDataModule,
    task: Task,
    learning: Learning,
    *,
    labels: Sequence[str],
    scale: TargetScale | None,
    epochs: int,
    report: Report,
    tick: Tick,
    rungs: Sequence[float] = (),
    engine: Engine = FLOAT32,
    resume: Path | None = None,
    checkpoint: Path | None = None,
    validating: bool = True,
) -> FitResult:
    """Train adapters and heads of `model` in place.

    AdamW, a linear warm-up over a tenth of the steps and then a linear decay to zero. With early
    exits the loss is the mean over all heads; metrics are those of the last one. A structure with
    nothing to train (a language model as it is), or no epoch to train it for, is validated once.

    Args:
        model: changed.
        data: training and validation batches.
        task: gives loss and metrics.
        learning: learning rates.
        labels: names of the labels, where the task has them.
        scale: of numbers, where they are learned.
        epochs: how many, unless `report` ends it sooner.
        report: is told each validation: at the end of each epoch, and at the rungs.
        tick: is told each step.
        rungs: when to validate besides, in epochs; fractions are rounded up to whole steps.
        engine: how the frozen blocks run.
        resume: a checkpoint to go on from.
        checkpoint: where one is written after each validation before the last step.
        validating: False: the validation rows are left alone, and metrics tell of the run alone.

    Raises:
        TrialError: a loss that is not finite.
        OutOfMemory: no memory left.
        UserError: the checkpoint cannot be read.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    keep_freed_memory()
    reset_peak_memory()

    def new_meter() -> Meter:
        return meter_of(task, labels, scale)

    from_file, to_file = (None if p is None else Checkpoint(p) for p in (resume, checkpoint))
    plan = Plan.of(data, epochs, rungs, from_file, to_file)
    if not validating:
        plan = replace(plan, marks={})
    module = FitModule(model, data, task, learning, plan, engine, new_meter, report, tick)
    trained = epochs > 0 and len(model.trained_parameters()) > 0
    with want_of_memory_told():
        if trained:
            _train(module, data, plan)
        elif validating:
            model.to(default_device())
            module.validate()
    model.eval()
    final = dict(module.history[-1].metrics) if module.history else {}
    final["train_s"] = module.train_s
    final["peak_memory_mib"] = module.peak_memory_mib
    return FitResult(
        metrics=final,
        history=tuple(module.history),
        stopped=trained and not module.done,
        routing=tuple(model.routing()),
        exits=module.exit_answers(),
    )


def _train(module: FitModule, data: StudyDataModule, plan: Plan) -> None:
    # Barebones: no logger, no bar, no checkpoint of the backbone, no per-step bookkeeping.
    trainer = Trainer(
        max_epochs=plan.epochs - plan.before.n_done // plan.n_batches,
        accelerator="auto",
        devices=1,
        barebones=True,
        gradient_clip_val=MAX_GRADIENT_NORM,
        use_distributed_sampler=False,
    )
    loader = data.train_dataloader(after=plan.before.n_done)
    module.model.train()  # Lightning leaves modules in the mode in which it finds them.
    with warnings.catch_warnings():
        # The backbone is, on purpose.
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        trainer.fit(module, train_dataloaders=loader)
    # Lightning takes the model off its device.
    module.model.to(trainer.strategy.root_device)
    # Its parts know each other and die late: the files of the cache must not stay mapped with them.
    loader.close()
    module.close()
