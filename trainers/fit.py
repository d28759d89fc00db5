"""Train one structure with Lightning, and tell what came of it.

Metrics have one road: each epoch's go through `report`, and all of them are in the FitResult.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from space.errors import TrialError
from space.search_space import Learning
from trainers.data.batches import Batch
from trainers.memory import peak_memory_mib, reset_peak_memory
from trainers.metrics import classification_metrics
from trainers.model import AdaptedModel

WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0


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


Report = Callable[[EpochReport], bool]
"""Is told each epoch and returns whether to go on."""
Tick = Callable[[int, int], None]
"""Is told (steps done, steps in all) after each step; may raise to end the training."""


def fit(
    model: AdaptedModel,
    data: LightningDataModule,
    learning: Learning,
    *,
    epochs: int,
    report: Report,
    tick: Tick,
) -> FitResult:
    """Train adapters, pooling and head of `model` in place.

    AdamW, a linear warm-up over a tenth of the steps and then a linear decay to zero.

    Raises:
        TrialError: a loss that is not finite, or no memory left.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = _FitModule(model, learning, report, tick)
    # Barebones: no logger, no bar, no checkpoint of the backbone, no per-step bookkeeping.
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="auto",
        devices=1,
        barebones=True,
        gradient_clip_val=MAX_GRADIENT_NORM,
        use_distributed_sampler=False,
    )
    reset_peak_memory()
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # The backbone is, on purpose.
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
            trainer.fit(module, datamodule=data)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrialError(f"no memory left ({error})") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise TrialError(f"no memory left ({error})") from error
    final = dict(module.history[-1].metrics)
    final["train_s"] = time.perf_counter() - started
    final["peak_memory_mib"] = peak_memory_mib()
    return FitResult(
        metrics=final,
        history=tuple(module.history),
        stopped=len(module.history) < epochs,
    )


class _FitModule(LightningModule):
    """Steps, optimizer and epoch metrics around an AdaptedModel."""

    def __init__(self, model: AdaptedModel, learning: Learning, report: Report, tick: Tick) -> None:
        super().__init__()
        self.model = model
        self.learning = learning
        self.history: list[EpochReport] = []
        self._report = report
        self._tick = tick
        self._steps = 0
        self._losses: list[Tensor] = []
        self._validated: list[tuple[Tensor, Tensor]] = []
        self._epoch_started = 0.0

    def configure_optimizers(self) -> Any:
        model = self.model
        groups: list[dict[str, Any]] = [
            {"params": [*model.pooling.parameters(), *model.head.parameters()]}
        ]
        if self.learning.learning_rate is not None:
            adapters = {"params": model.adapters.parameters(), "lr": self.learning.learning_rate}
            groups.append(adapters)
        optimizer = torch.optim.AdamW(
            groups, lr=self.learning.head_learning_rate, weight_decay=WEIGHT_DECAY, fused=True
        )
        n_steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: _warm_up_and_decay(step, n_steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        self._losses = []
        self._epoch_started = time.perf_counter()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.model(batch.input_ids, batch.attention_mask)
        loss = functional.cross_entropy(logits, batch.labels)
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self._steps += 1
        self._check_finite("the loss", self._losses[-1].item())
        self._tick(self._steps, int(self.trainer.estimated_stepping_batches))

    def on_validation_epoch_start(self) -> None:
        self._validated = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.model(batch.input_ids, batch.attention_mask)
        self._validated.append((logits.float().cpu(), batch.labels.cpu()))
        self._tick(self._steps, int(self.trainer.estimated_stepping_batches))

    def on_validation_epoch_end(self) -> None:
        logits, labels = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
        metrics = classification_metrics(logits, labels)
        # A last step that breaks the weights shows here only.
        self._check_finite("the validation loss", metrics["validation_loss"])
        metrics["train_loss"] = torch.stack(self._losses).mean().item()
        metrics["epoch_s"] = time.perf_counter() - self._epoch_started
        epoch = EpochReport(
            epoch=self.current_epoch + 1, time_ms=time.time_ns() // 10**6, metrics=metrics
        )
        self.history.append(epoch)
        if not self._report(epoch):
            self.trainer.should_stop = True

    def _check_finite(self, what: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrialError(
                f"{what} became {loss} at step {self._steps}; the learning rate was"
                f" {self.learning.learning_rate}"
            )


def _warm_up_and_decay(step: int, n_steps: int) -> float:
    warm_up = max(1, round(WARMUP_SHARE * n_steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (n_steps - step) / max(1, n_steps - warm_up))
