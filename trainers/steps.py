"""What a training step is: optimizer, learning rate and loss of an adapted model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from space.search_space import Learning
from trainers.model import AdaptedModel

WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
BALANCE_WEIGHT = 0.01
"""Of the loss that keeps experts evenly loaded, as in Fedus et al. 2021 (arXiv 2101.03961)."""


def make_optimizer(model: AdaptedModel, learning: Learning) -> torch.optim.AdamW:
    """Return AdamW over what is trained, all parameters in one fused pass."""
    return torch.optim.AdamW(parameter_groups(model, learning), fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, n_steps: int, n_done: int) -> LambdaLR:
    """Return a linear warm-up over a tenth of the steps and then a linear decay to zero.

    Args:
        optimizer: whose rates it sets.
        n_steps: in all.
        n_done: steps that were done before.
    """
    return LambdaLR(optimizer, lambda step: schedule_factor(step + n_done, n_steps))


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


def warm_up_share(n_done: int, n_steps: int) -> float:
    """Return how far the warm-up is after so many steps, 0 to 1."""
    return min(1.0, (n_done + 1) / _n_warm_up(n_steps))


def with_balance(model: AdaptedModel, loss: Tensor) -> Tensor:
    """Return the loss with what keeps sparse experts evenly loaded."""
    balance = model.balance_loss()
    return loss if balance is None else loss + BALANCE_WEIGHT * balance


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state by the place of its parameter, such as `3.exp_avg`."""
    return {
        f"{place}.{name}": value
        for place, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state[parameter].items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the state that `optimizer_tensors` returned."""
    for place, parameter in enumerate(_parameters(optimizer)):
        prefix = f"{place}."
        optimizer.state[parameter] = {
            name.removeprefix(prefix): value.to(parameter.device)
            for name, value in tensors.items()
            if name.startswith(prefix)
        }


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _n_warm_up(n_steps: int) -> int:
    return max(1, round(WARMUP_SHARE * n_steps))


def schedule_factor(step: int, n_steps: int) -> float:
    """Return what the learning rates are multiplied with in a step, from 0."""
    warm_up = _n_warm_up(n_steps)
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (n_steps - step) / max(1, n_steps - warm_up))
