"""One trial in a plain PEFT + transformers + torch loop, as an honest user writes it.

float32, rows tokenised once, a DataLoader that shuffles and pads each batch to its longest row,
AdamW, linear warm-up and decay, a validation after each epoch with the same batch size, the model
loaded anew for each trial. The recipe (rates, decay, clipping, no dropout in the frozen backbone)
is that of `trainers/fit.py`, so that only the way of computing differs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from space.search_space import Learning
from space.spec import AdapterSpec
from tests.benchmarks.plain_model import PlainModel

WARMUP_SHARE, WEIGHT_DECAY, MAX_NORM, BALANCE_WEIGHT = 0.1, 0.01, 1.0, 0.01

Feature = dict[str, Any]
"""A tokenised row: `input_ids`, `attention_mask` and `labels`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainData:
    """What all trials of a plain study share."""

    folder: str
    """Of the backbone's files."""
    tokenizer: PreTrainedTokenizerBase
    train: list[Feature]
    validation: list[Feature]
    n_labels: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class PlainRun:
    """What one trial gave."""

    accuracy: float
    """Of the last epoch."""
    seconds: float
    """Of the whole trial: loading, training, validation."""
    cpu_s: float
    """Processor time of the same, of all threads: it hardly depends on who else is there."""


class Trial:
    """Model, optimizer and batches of one trial, before its first step.

    Args:
        data: rows and backbone.
        spec: the structure.
        learning: its learning rates.
        epochs: how many the learning rates are planned for.
        seed: of new weights and of the order of the rows.
    """

    def __init__(
        self, data: PlainData, spec: AdapterSpec, learning: Learning, epochs: int, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        collate = DataCollatorWithPadding(data.tokenizer)
        self.train = DataLoader(data.train, data.batch_size, shuffle=True, collate_fn=collate)
        self.validation = DataLoader(data.validation, data.batch_size, collate_fn=collate)
        # The frozen backbone has no dropout; nothing else depends on the mode.
        self.model = PlainModel(data.folder, spec, data.n_labels).to(self.device).eval()
        self.optimizer = torch.optim.AdamW(groups(self.model, learning))
        n_steps = epochs * len(self.train)
        self.scheduler = LambdaLR(self.optimizer, lambda step: warm_up_and_decay(step, n_steps))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]

    def step(self, batch: Any) -> None:
        """Learn from one batch."""
        loss = loss_of(self.model, batch.to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, MAX_NORM)
        self.optimizer.step()
        self.scheduler.step()
        loss.item()  # as everyone logs it


def run_plain(
    data: PlainData,
    spec: AdapterSpec,
    learning: Learning,
    *,
    epochs: int,
    seed: int = 0,
    last_only: bool = False,
    after_epoch: Callable[[float], None] = lambda accuracy: None,
) -> PlainRun:
    """Train one structure and validate it.

    Args:
        data: rows and backbone.
        spec: the structure.
        learning: its learning rates.
        epochs: how many.
        seed: of new weights and of the order of the rows.
        last_only: validate after the last epoch, not after each.
        after_epoch: is told each validation accuracy.
    """
    began, began_cpu = time.perf_counter(), time.process_time()
    trial = Trial(data, spec, learning, epochs, seed)
    accuracy = float("nan")
    for epoch in range(epochs):
        for batch in trial.train:
            trial.step(batch)
        if last_only and epoch + 1 < epochs:
            continue
        accuracy = validate(trial)
        after_epoch(accuracy)
    return PlainRun(
        accuracy=accuracy,
        seconds=time.perf_counter() - began,
        cpu_s=time.process_time() - began_cpu,
    )


def loss_of(model: PlainModel, batch: Any) -> Tensor:
    """Return cross-entropy, and what keeps experts evenly loaded."""
    logits = model(batch["input_ids"], batch["attention_mask"])
    loss = functional.cross_entropy(logits, batch["labels"])
    for experts in model.sparse():
        assert experts.balance is not None
        loss = loss + BALANCE_WEIGHT * experts.balance
    return loss


@torch.no_grad()
def validate(trial: Trial) -> float:
    """Return the share of right answers."""
    right = total = 0
    for batch in trial.validation:
        batch = batch.to(trial.device)
        logits = trial.model(batch["input_ids"], batch["attention_mask"])
        right += int((logits.argmax(-1) == batch["labels"]).sum())
        total += len(batch["labels"])
    return right / total


def groups(model: PlainModel, learning: Learning) -> list[dict[str, Any]]:
    """Return what is trained by rate and decay: matrices decay, biases do not."""
    head = {id(p) for p in model.head.parameters()}
    found = []
    for in_head, rate in ((True, learning.head_learning_rate), (False, learning.learning_rate)):
        own = [p for p in model.parameters() if p.requires_grad and (id(p) in head) == in_head]
        found.append({"params": [p for p in own if p.dim() > 1], "weight_decay": WEIGHT_DECAY})
        found.append({"params": [p for p in own if p.dim() <= 1], "weight_decay": 0.0})
        for group in found[-2:]:
            group["lr"] = rate
    return [group for group in found if group["params"]]


def warm_up_and_decay(step: int, n_steps: int) -> float:
    """Return the factor on the learning rates: up over a tenth of the steps, then down to zero."""
    warm_up = max(1, round(WARMUP_SHARE * n_steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (n_steps - step) / max(1, n_steps - warm_up))
