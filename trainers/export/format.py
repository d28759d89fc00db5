"""What a format of an export is: what it starts from, how it is refused, written and opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from trainers.bundle import LoadedBundle
from trainers.data import Table

Answer = Callable[[Mapping[str, Tensor]], Tensor]
"""What a loaded export is to its proof: a batch's inputs to logits, (B, C) or (B, N, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A trained structure, and what is said of it, from which every format is written."""

    bundle: LoadedBundle
    """In evaluation mode, float32, on the CPU; left as it is."""
    rows: Table
    """Held-out (validation) rows, as the backbone reads them."""
    n_tokens: int
    """The mean length of a row."""
    metrics: Mapping[str, Any]
    """Of metrics.json: plain data, by name."""
    card: str
    """The model card without its last part, how the export is used."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user may ask of a format besides its name."""

    int8: bool = False
    """Weights of linear layers in eight bits."""
    offline: bool = False
    """With the backbone's weights and tokenizer in the folder."""
    register: str | None = None
    """The name in MLflow's model registry."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a format tells of what it wrote."""

    use: str
    """Markdown for the card: how the folder is loaded by others, with code that runs as it is."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain data for the proof: what was measured, what of the structure's saving is lost."""


class Format(Protocol):
    """One form of an export."""

    name: str
    """What `--format` calls it."""
    options: frozenset[str]
    """The names of the options that it takes."""

    def refusal(self, source: Source, options: Options) -> str | None:
        """Return which part of the structure cannot be expressed and what to do; None: all can."""

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write its files to an empty folder."""

    def opened(self, source: Source, folder: Path) -> Answer:
        """Load the folder as its users do, with none of our own model code where it needs none."""

    def tolerance(self, options: Options) -> float | None:
        """Return the largest difference of a logit that is allowed; None: it is only told."""
