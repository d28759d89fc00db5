"""The training of one structure as Lightning runs it: steps, validations, reports."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from space.errors import TrialError
from space.search_space import Learning
from trainers.checkpoint import Checkpoint, SoFar
from trainers.data import Batch, StudyDataModule
from trainers.engine import Engine, autocast
from trainers.graphs import Losses, losses_of
from trainers.losses import loss_of
from trainers.memory import peak_memory_mib
from trainers.metrics import Meter
from trainers.model import AdaptedModel
from trainers.reports import EpochReport, ExitAnswers, Report, Tick
from trainers.steps import make_optimizer, make_schedule, warm_up_share
from trainers.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a training is, and when it is validated."""

    epochs: int
    n_batches: int
    """Steps of an epoch."""
    marks: Mapping[int, float]
    """Steps after which the model is validated, and how many epochs that is."""
    resume: Checkpoint | None
    checkpoint: Checkpoint | None
    """Where the state is written after each validation before the last step."""
    before: SoFar
    """What was done before, where the training goes on from a checkpoint."""

    @classmethod
    def of(
        cls,
        data: StudyDataModule,
        epochs: int,
        rungs: Sequence[float],
        resume: Checkpoint | None,
        checkpoint: Checkpoint | None,
    ) -> "Plan":
        """Return the plan: a validation at the end of each epoch, and at each rung."""
        n_batches = data.n_batches
        times = (*(rung for rung in rungs if rung < epochs), *range(1, epochs + 1))
        return cls(
            epochs=epochs,
            n_batches=n_batches,
            marks={_step_at(time, n_batches): float(time) for time in times},
            resume=resume,
            checkpoint=checkpoint,
            before=SoFar() if resume is None else resume.so_far,
        )

    @property
    def n_steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.n_batches


def _step_at(epoch: float, n_batches: int) -> int:
    """Return the step that a rung stands behind: the next whole one, safe from rounding."""
    return max(1, math.ceil(round(epoch * n_batches, 6)))


class FitModule(LightningModule):
    """Steps, optimizer and validations around an AdaptedModel."""

    def __init__(
        self,
        model: AdaptedModel,
        data: StudyDataModule,
        task: Task,
        learning: Learning,
        plan: Plan,
        engine: Engine,
        new_meter: Callable[[], Meter],
        report: Report,
        tick: Tick,
    ) -> None:
        super().__init__()
        self.model = model
        self.history = list(plan.before.history)
        self._data = data
        self._loss = loss_of(task)
        self._losses_of: Callable[[Batch], Losses] | None = None
        self._learning = learning
        self._plan = plan
        self._engine = engine
        self._new_meter = new_meter
        self._report = report
        self._tick = tick
        self._n_done = plan.before.n_done
        self._began = time.perf_counter()
        self._losses: list[Tensor] = []
        self._answers: list[tuple[list[Tensor], Tensor]] = []
        self._validated = time.perf_counter()

    @property
    def done(self) -> bool:
        """Whether all steps were done."""
        return self._n_done == self._plan.n_steps

    @property
    def train_s(self) -> float:
        """Seconds that the training took by now, what was done before included."""
        return self._plan.before.train_s + time.perf_counter() - self._began

    @property
    def peak_memory_mib(self) -> float:
        """Peak memory of the training by now, what was done before included."""
        return max(self._plan.before.peak_memory_mib, peak_memory_mib())

    def _save(self, *, stopped: bool) -> None:
        """Write the state of the training."""
        if self._plan.checkpoint is None:
            return
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        so_far = SoFar(
            n_done=self._n_done,
            history=tuple(self.history),
            train_s=self.train_s,
            peak_memory_mib=self.peak_memory_mib,
            stopped=stopped,
        )
        self._plan.checkpoint.save(self.model, optimizer, so_far)

    def close(self) -> None:
        """Let go of the data, and of what was made for its batches."""
        del self._data
        self._losses_of = None

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.model, self._learning)
        if self._plan.resume is not None:
            self._plan.resume.load(self.model, optimizer)
        schedule = make_schedule(optimizer, self._plan.n_steps, self._plan.before.n_done)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_start(self) -> None:
        self._losses_of = losses_of(self.model, self._loss, self._engine, self._data.longest)
        self._validated = time.perf_counter()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.model.warm_up(warm_up_share(self._n_done, self._plan.n_steps))
        assert self._losses_of is not None
        loss, minimised = self._losses_of(batch)
        self._losses.append(loss.detach())
        return minimised

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self._n_done += 1
        self._check_finite("the loss", self._losses[-1].item())
        self._tick(self._n_done, self._plan.n_steps)
        if self._n_done not in self._plan.marks:
            return
        goes_on = self.validate()
        if not self.done:
            self._save(stopped=not goes_on)
        if not goes_on:
            self.trainer.should_stop = True

    @torch.inference_mode()
    def validate(self) -> bool:
        """Validate the model, report it, and return whether to go on."""
        meter, self._answers = self._new_meter(), []
        was_training = self.model.training
        self.model.eval()
        self.model.reset_routing()
        self.model.warm_up(1.0)
        for batch in self._data.val_dataloader():
            batch = batch.to(self.model.device)
            answers = self._forward(batch)
            meter.update(answers[-1], batch.labels)
            if self.model.spec.exits:
                self._answers.append(([a.cpu() for a in answers], batch.labels.cpu()))
            self._tick(self._n_done, self._plan.n_steps)
        self.model.train(was_training)
        return self._report(self._epoch_report(meter.compute()))

    def _forward(self, batch: Batch) -> list[Tensor]:
        with autocast(self._engine, self.model.device):
            return self.model.forward_exits(boundaries=batch.boundaries, **batch.inputs)

    def _epoch_report(self, metrics: dict[str, float]) -> EpochReport:
        # A last step that breaks the weights shows here only.
        self._check_finite("the validation loss", metrics["validation_loss"])
        if self._losses:
            metrics["train_loss"] = torch.stack(self._losses).mean().item()
            self._losses = []
        now = time.perf_counter()
        metrics["epoch_s"] = now - self._validated
        self._validated = now
        epoch = EpochReport(
            epoch=self._plan.marks.get(self._n_done, 1.0),
            time_ms=time.time_ns() // 10**6,
            metrics=metrics,
        )
        self.history.append(epoch)
        return epoch

    def exit_answers(self) -> ExitAnswers | None:
        """Return what all heads said of the validation rows, if there are exits."""
        if not self._answers:
            return None
        heads = zip(*(answers for answers, _ in self._answers), strict=True)
        return ExitAnswers(
            logits=tuple(torch.cat(head) for head in heads),
            labels=torch.cat([labels for _, labels in self._answers]),
        )

    def _check_finite(self, what: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrialError(
                f"{what} became {loss} at step {self._n_done}; the learning rate was"
                f" {self._learning.learning_rate}"
            )
