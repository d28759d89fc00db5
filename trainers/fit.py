"""Train one structure with Lightning, and tell what came of it.

Metrics have one road: each epoch's go through `report`, and all of them are in the FitResult.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from space.errors import TrialError
from space.search_space import Learning
from trainers.data import Batch, TargetScale
from trainers.losses import loss_of
from trainers.memory import peak_memory_mib, reset_peak_memory
from trainers.metrics import Meter, meter_of
from trainers.model import AdaptedModel
from trainers.tasks import Task

WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
BALANCE_WEIGHT = 0.01
"""Of the loss that keeps experts evenly loaded, as in Fedus et al. 2021 (arXiv 2101.03961)."""


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one epoch gave."""

    epoch: int
    """From 1."""
    time_ms: int
    """When it ended, in milliseconds since 1970."""
    metrics: Mapping[str, float]

    def to_dict(self) -> dict[str, float]:
        """Return it as plain data."""
        return {"epoch": self.epoch, "time_ms": self.time_ms, **self.metrics}


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What the training of one structure gave."""

    metrics: Mapping[str, float]
    """Of the last epoch, with train_s and peak_memory_mib."""
    history: tuple[EpochReport, ...]
    stopped: bool
    """Whether `report` ended it before its last epoch."""
    routing: tuple[Mapping[str, Any], ...]
    """For each adapter of sparse experts its layer, role, load and entropy on validation."""
    exits: "ExitAnswers | None"
    """Where the structure has early exits: what each said of the validation rows."""


@dataclass(frozen=True, kw_only=True)
class ExitAnswers:
    """What the heads of a structure with early exits said of the validation rows."""

    logits: tuple[Tensor, ...]
    """(rows, outputs) of each exit, lowest first, and of the end."""
    labels: Tensor


Report = Callable[[EpochReport], bool]
"""Is told each epoch and returns whether to go on."""
Tick = Callable[[int, int], None]
"""Is told (steps done, steps in all) after each step; may raise to end the training."""


def fit(
    model: AdaptedModel,
    data: LightningDataModule,
    task: Task,
    learning: Learning,
    *,
    labels: Sequence[str],
    scale: TargetScale | None,
    epochs: int,
    report: Report,
    tick: Tick,
) -> FitResult:
    """Train adapters and heads of `model` in place.

    AdamW, a linear warm-up over a tenth of the steps and then a linear decay to zero. With early
    exits the loss is the mean over all heads; metrics are those of the last one. A structure with
    nothing to train (a language model as it is) is validated once.

    Args:
        model: changed.
        data: training and validation batches.
        task: gives loss and metrics.
        learning: learning rates.
        labels: names of the labels, where the task has them.
        scale: of numbers, where they are learned.
        epochs: how many, unless `report` ends it sooner.
        report: is told each epoch.
        tick: is told each step.

    Raises:
        TrialError: a loss that is not finite, or no memory left.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trained = len(model.trained_parameters()) > 0
    reset_peak_memory()
    started = time.perf_counter()

    def new_meter() -> Meter:
        return meter_of(task, labels, scale)

    module = _FitModule(model, task, learning, new_meter, report, tick)
    # Barebones: no logger, no bar, no checkpoint of the backbone, no per-step bookkeeping.
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="auto",
        devices=1,
        barebones=True,
        gradient_clip_val=MAX_GRADIENT_NORM,
        use_distributed_sampler=False,
    )
    model.train()  # Lightning leaves modules in the mode in which it finds them.
    try:
        with warnings.catch_warnings():
            # The backbone is, on purpose.
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
            if trained:
                trainer.fit(module, datamodule=data)
            else:
                trainer.validate(module, datamodule=data, verbose=False)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrialError(f"no memory left ({error})") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise TrialError(f"no memory left ({error})") from error
    model.eval()
    final = dict(module.history[-1].metrics)
    final["train_s"] = time.perf_counter() - started
    final["peak_memory_mib"] = peak_memory_mib()
    return FitResult(
        metrics=final,
        history=tuple(module.history),
        stopped=trained and len(module.history) < epochs,
        routing=tuple(model.routing()),
        exits=module.exit_answers(),
    )


class _FitModule(LightningModule):
    """Steps, optimizer and epoch metrics around an AdaptedModel."""

    def __init__(
        self,
        model: AdaptedModel,
        task: Task,
        learning: Learning,
        new_meter: Callable[[], Meter],
        report: Report,
        tick: Tick,
    ) -> None:
        super().__init__()
        self.model = model
        self._loss = loss_of(task)
        self.learning = learning
        self.history: list[EpochReport] = []
        self._new_meter = new_meter
        self._meter = new_meter()
        self._report = report
        self._tick = tick
        self._steps = self._n_steps = 0
        self._losses: list[Tensor] = []
        self._answers: list[tuple[list[Tensor], Tensor]] = []
        self._epoch_started = time.perf_counter()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(parameter_groups(self.model, self.learning), fused=True)
        n_steps = self._n_steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: _warm_up_and_decay(step, n_steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        self._losses = []
        self._epoch_started = time.perf_counter()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        n_warm_up = _n_warm_up(self._n_steps)
        if self._steps < n_warm_up:
            self.model.warm_up((self._steps + 1) / n_warm_up)
        answers = self.model.forward_exits(**batch.inputs)
        losses = [self._loss(answer, batch.labels) for answer in answers]
        loss = torch.stack(losses).mean()
        self._losses.append(loss.detach())
        balance = self.model.balance_loss()
        return loss if balance is None else loss + BALANCE_WEIGHT * balance

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self._steps += 1
        self._check_finite("the loss", self._losses[-1].item())
        self._tick(self._steps, self._n_steps)

    def on_validation_epoch_start(self) -> None:
        self._meter = self._new_meter()
        self._answers = []
        self.model.reset_routing()
        self.model.warm_up(1.0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        answers = self.model.forward_exits(**batch.inputs)
        self._meter.update(answers[-1], batch.labels)
        if self.model.spec.exits:
            self._answers.append(([a.float().cpu() for a in answers], batch.labels.cpu()))
        self._tick(self._steps, self._n_steps)

    def on_validation_epoch_end(self) -> None:
        metrics = self._meter.compute()
        # A last step that breaks the weights shows here only.
        self._check_finite("the validation loss", metrics["validation_loss"])
        if self._losses:
            metrics["train_loss"] = torch.stack(self._losses).mean().item()
        metrics["epoch_s"] = time.perf_counter() - self._epoch_started
        epoch = EpochReport(
            epoch=self.current_epoch + 1, time_ms=time.time_ns() // 10**6, metrics=metrics
        )
        self.history.append(epoch)
        if not self._report(epoch):
            self.trainer.should_stop = True

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
                f"{what} became {loss} at step {self._steps}; the learning rate was"
                f" {self.learning.learning_rate}"
            )


def parameter_groups(model: AdaptedModel, learning: Learning) -> list[dict[str, Any]]:
    """Return what is trained, by rate and decay: matrices decay to zero; biases and scales do not.

    Vectors are biases and scales; of sparse experts the biases are matrices, a row each.
    """
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    rated = [(model.head_parameters(), learning.head_learning_rate)]
    if learning.learning_rate is not None:
        rated.append((model.adapter_parameters(), learning.learning_rate))
    groups = []
    for parameters, rate in rated:
        decaying = [p for p in parameters if p.dim() > 1 and id(p) not in biases]
        others = [p for p in parameters if p.dim() <= 1 or id(p) in biases]
        groups.append({"params": decaying, "lr": rate, "weight_decay": WEIGHT_DECAY})
        groups.append({"params": others, "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _n_warm_up(n_steps: int) -> int:
    return max(1, round(WARMUP_SHARE * n_steps))


def _warm_up_and_decay(step: int, n_steps: int) -> float:
    warm_up = _n_warm_up(n_steps)
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (n_steps - step) / max(1, n_steps - warm_up))
