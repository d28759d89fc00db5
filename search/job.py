"""What goes to a worker and what comes back: plain data, the same in this process and in others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.reports import EpochReport


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial, as a worker trains it."""

    number: int
    """Of the trial. It is trained under this number once: who is run again has a new one."""
    spec: AdapterSpec
    learning: Learning
    costs: Mapping[str, float]
    """What was known of it before training."""
    rungs: Sequence[float]
    """When to validate besides the end of each epoch, in epochs."""
    resume: Path | None
    """A checkpoint to go on from."""
    checkpoint: Path | None
    """Where the state is written on the way."""
    began_s: float
    """When it began: seconds of the monotonic clock of the process that decides."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the training of one structure gave. Its weights are where the study keeps them."""

    metrics: Mapping[str, float]
    """With the costs that were known before."""
    history: Sequence[EpochReport]
    stopped: bool
    """Whether it was told not to go on."""
    attributes: Mapping[str, Any]
    """What else is kept with the trial: the load of experts, the curve of early exits."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The training of one structure failed; the study goes on."""

    reason: str
    out_of_memory: bool
