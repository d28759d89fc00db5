"""Where the values that a trial reached at its rungs stand: in user attributes, one key a rung.

Optuna's intermediate values stay empty: with several objectives TPE fails at the next proposal
where a trial has any.
"""

from collections.abc import Mapping
from typing import Any

_PREFIX = "rung."


def rung_key(level: float) -> str:
    """Return the trial attribute of a rung at so many epochs, such as `rung.0.5`."""
    return f"{_PREFIX}{level:g}"


def values_at(attributes: Mapping[str, Any], level: float) -> dict[str, float] | None:
    """Return what a trial had at a rung, metrics by their name; None where it did not reach it."""
    values = attributes.get(rung_key(level))
    # A study that an earlier version began may hold lists, which do not say what they are of.
    return values if isinstance(values, dict) else None


def rungs_reached(attributes: Mapping[str, Any]) -> dict[float, dict[str, float]]:
    """Return what a trial reached, metrics by their name, by rung in epochs, the earliest first."""
    levels = sorted(
        float(key.removeprefix(_PREFIX)) for key in attributes if key.startswith(_PREFIX)
    )
    found = {level: values_at(attributes, level) for level in levels}
    return {level: values for level, values in found.items() if values is not None}
