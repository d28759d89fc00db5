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


def rungs_reached(attributes: Mapping[str, Any]) -> dict[float, list[float]]:
    """Return what a trial reached, by rung in epochs, the earliest first."""
    found = {
        float(key.removeprefix(_PREFIX)): values
        for key, values in attributes.items()
        if key.startswith(_PREFIX)
    }
    return dict(sorted(found.items()))
