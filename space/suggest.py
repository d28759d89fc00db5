"""What a sampler must offer: three methods. An Optuna trial has them."""

from collections.abc import Sequence
from typing import Any, Protocol


class Suggest(Protocol):
    """A source of parameter values; `optuna.Trial` fits without knowing of us."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """Return an integer from low to high, both included."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from low to high; evenly spread in its logarithm where `log`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
