"""Early exit: rows that a small head is sure of do not run the rest of the backbone.

The threshold of sureness is chosen after training, on one pass over the validation rows: it gives
a curve of quality against mean cost, not another training.

Shapes: `B` batch, `C` outputs, `V` validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.model import AdaptedModel

if TYPE_CHECKING:  # what only answers must not need torchmetrics
    from trainers.metrics import Meter

NEVER = 2.0
"""A threshold that no confidence reaches."""
N_THRESHOLDS = 24


@dataclass(frozen=True, kw_only=True)
class ExitPoint:
    """What one threshold gives on the validation rows."""

    threshold: float
    value: float
    """Of the metric that the threshold is chosen by."""
    metrics: dict[str, float]
    mean_gflops: float
    """Per row, with each row's exit."""
    shares: tuple[float, ...]
    """Of the rows that leave at each exit, lowest first, and at the end."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"shares": list(self.shares)}


def confidence(logits: Tensor, multi_label: bool) -> Tensor:
    """Return how sure an answer is, 0 to 1: (B, C) gives (B,).

    The probability of the best label; where several labels may hold at once, that of the least
    sure of them.
    """
    if multi_label:
        p = logits.float().sigmoid()
        return torch.maximum(p, 1 - p).amin(-1)
    return logits.float().softmax(-1).amax(-1)


class EarlyExit:
    """Answers with the first head that is sure enough, and runs no more of the backbone.

    Args:
        model: of a structure with exits, in the form that is deployed.
        threshold: an exit whose confidence reaches it answers; one for all exits, or one each.
        multi_label: whether several labels may hold at once.
    """

    def __init__(
        self, model: AdaptedModel, threshold: float | Sequence[float], *, multi_label: bool = False
    ) -> None:
        self.model = model
        n_exits = len(model.spec.exits)
        each = (threshold,) * n_exits if isinstance(threshold, (int, float)) else tuple(threshold)
        self.thresholds = dict(zip(model.spec.exits, each, strict=True))
        self.multi_label = multi_label

    @torch.no_grad()
    def __call__(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, C) and, for each row, the index of its exit (B,), the end the last."""
        running = self.model.running
        answers: list[tuple[Tensor, Tensor, int]] = []

        def at_exit(depth: int, hidden: Tensor) -> None:
            rows = running.rows
            if rows is None:
                rows = torch.arange(hidden.shape[0], device=hidden.device)
            if len(rows) == 0:
                return
            logits = self.model.answer_at(depth, hidden, rows)
            sure = confidence(logits, self.multi_label) >= self.thresholds[depth]
            answers.append((rows[sure], logits[sure], self.model.spec.exits.index(depth)))
            running.rows = rows[~sure]

        running.at_exit = at_exit
        try:
            hidden = self.model.hidden(**inputs)
        finally:
            running.at_exit = None
        if running.rows is None or len(running.rows):
            rows = running.rows
            if rows is None:
                rows = torch.arange(hidden.shape[0], device=hidden.device)
            last = len(self.model.spec.exits)
            answers.append((rows, self.model.answer_at(None, hidden, rows), last))
        return _in_order(answers, hidden.shape[0])


def _in_order(answers: Sequence[tuple[Tensor, Tensor, int]], n_rows: int) -> tuple[Tensor, Tensor]:
    first = answers[0][1]
    logits = first.new_empty(n_rows, first.shape[1])
    taken = torch.empty(n_rows, dtype=torch.long, device=first.device)
    for rows, own, index in answers:
        logits[rows], taken[rows] = own, index
    return logits, taken


def exit_curve(
    exit_logits: Sequence[Tensor],
    labels: Tensor,
    meter: Callable[[], Meter],
    metric: str,
    gflops: Tensor,
    *,
    multi_label: bool = False,
) -> tuple[ExitPoint, ...]:
    """Return what thresholds give, from never leaving early to leaving at the first exit.

    Args:
        exit_logits: (V, C) for each exit, lowest first, and for the end.
        labels: of the validation rows.
        meter: makes a new meter of the task.
        metric: the metric that the threshold will be chosen by.
        gflops: (V, exits + 1): what each row costs if it leaves at each exit, or at the end.
        multi_label: whether several labels may hold at once.
    """
    sure = torch.stack([confidence(logits, multi_label) for logits in exit_logits[:-1]])  # (E, V)
    levels = torch.linspace(1, 0, N_THRESHOLDS, dtype=torch.float64)
    thresholds = [NEVER, *sure.double().flatten().quantile(levels).tolist()]
    curve: dict[tuple[float, ...], ExitPoint] = {}
    for threshold in thresholds:
        taken = taken_exits(sure, threshold)
        counts = torch.bincount(taken, minlength=len(exit_logits))
        shares = tuple((counts / len(taken)).tolist())
        if shares not in curve:
            rows = torch.arange(len(taken))
            chosen = torch.stack(list(exit_logits))[taken, rows]
            own = meter()
            own.update(chosen, labels)
            metrics = own.compute()
            curve[shares] = ExitPoint(
                threshold=threshold,
                value=metrics[metric],
                metrics=metrics,
                mean_gflops=gflops[rows, taken].mean().item(),
                shares=shares,
            )
    return tuple(curve.values())


def taken_exits(sure: Tensor, threshold: float) -> Tensor:
    """Return the index of each row's exit (B,): the first that is sure, or the end.

    Args:
        sure: (exits, B), the confidence of each exit but the end, lowest first.
        threshold: what it has to reach.
    """
    end = torch.ones(1, sure.shape[1], dtype=torch.bool, device=sure.device)
    return torch.cat([sure >= threshold, end]).int().argmax(0)


def choose(curve: Sequence[ExitPoint], tolerance: float, direction: str) -> ExitPoint:
    """Return the cheapest point that is at most `tolerance` worse than never leaving early.

    Args:
        curve: as `exit_curve` returns it; its first point never leaves early.
        tolerance: in the units of the metric.
        direction: `maximize` or `minimize`: which way is better.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    least = sign * curve[0].value - tolerance
    good = [point for point in curve if sign * point.value >= least]
    return min(good, key=lambda point: point.mean_gflops)
