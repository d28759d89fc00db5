"""What a training tells while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one validation gave."""

    epoch: float
    """How many epochs were done: a whole number, or a rung within one."""
    time_ms: int
    """When it ended, in milliseconds since 1970."""
    metrics: Mapping[str, float]

    def to_dict(self) -> dict[str, float]:
        """Return it as plain data."""
        return {"epoch": self.epoch, "time_ms": self.time_ms, **self.metrics}

    @classmethod
    def from_dict(cls, plain: Mapping[str, float]) -> "EpochReport":
        """Return the report that `to_dict` gave."""
        metrics = {name: v for name, v in plain.items() if name not in ("epoch", "time_ms")}
        return cls(epoch=plain["epoch"], time_ms=int(plain["time_ms"]), metrics=metrics)


@dataclass(frozen=True, kw_only=True)
class ExitAnswers:
    """What the heads of a structure with early exits said of the validation rows."""

    logits: tuple[Tensor, ...]
    """(rows, outputs) of each exit, lowest first, and of the end."""
    labels: Tensor


Report = Callable[[EpochReport], bool]
"""Is told each validation and returns whether to go on."""
Tick = Callable[[int, int], None]
"""Is told (steps done, steps in all) after each step; may raise to end the training."""
