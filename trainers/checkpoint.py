"""The state of a training, to go on from where it was stopped or cut off: one safetensors file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from space.errors import UserError
from trainers.model import AdaptedModel
from trainers.reports import EpochReport
from trainers.steps import load_optimizer_tensors, optimizer_tensors
from trainers.weights import write_error

_MODEL, _OPTIMIZER, _SO_FAR = "model.", "optimizer.", "so_far"


@dataclass(frozen=True, kw_only=True)
class SoFar:
    """How far a training is, and what it gave until then."""

    n_done: int = 0
    """Steps that were done."""
    history: tuple[EpochReport, ...] = ()
    """What its validations gave."""
    train_s: float = 0.0
    """Seconds that it took."""
    peak_memory_mib: float = 0.0
    stopped: bool = False
    """Whether it was told at the last of these validations not to go on."""


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a training is, and how far it is."""

    path: Path

    def save(self, model: AdaptedModel, optimizer: torch.optim.Optimizer, so_far: SoFar) -> None:
        """Write trained weights and optimizer state, all or nothing.

        Raises:
            OSError: it cannot be written.
        """
        tensors = {f"{_MODEL}{name}": value for name, value in model.trained_state().items()}
        own = optimizer_tensors(optimizer)
        tensors |= {f"{_OPTIMIZER}{name}": value for name, value in own.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}")
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        try:
            save_file(tensors, partial, metadata={_SO_FAR: _written(so_far)})
            partial.replace(self.path)
        except SafetensorError as error:
            raise write_error(self.path, error) from error
        finally:
            partial.unlink(missing_ok=True)

    @property
    def so_far(self) -> SoFar:
        """How far the training was. Raises UserError as `load` does."""
        with self._opened() as file:
            try:
                return _read(file.metadata()[_SO_FAR])
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"{self.path}: it does not say how far the training was ({error!r})."
                ) from error

    def load(self, model: AdaptedModel, optimizer: torch.optim.Optimizer) -> None:
        """Set weights and optimizer state.

        Raises:
            UserError: the file is not there, not whole, or of another structure.
        """
        with self._opened() as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        try:
            model.load_trained_state(_below(tensors, _MODEL))
        except ValueError as error:
            raise UserError(f"{self.path}: {error}") from error
        load_optimizer_tensors(optimizer, _below(tensors, _OPTIMIZER))

    def _opened(self) -> "safe_open":
        try:
            return safe_open(self.path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.path}: the checkpoint cannot be read ({error}).") from error


def _written(so_far: SoFar) -> str:
    return json.dumps(vars(so_far) | {"history": [report.to_dict() for report in so_far.history]})


def _read(text: str) -> SoFar:
    plain = json.loads(text)
    history = tuple(EpochReport.from_dict(report) for report in plain.pop("history"))
    return SoFar(history=history, **plain)


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
