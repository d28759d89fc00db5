"""The state of a training that was stopped, to go on from: one safetensors file."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from space.errors import UserError
from trainers.model import AdaptedModel
from trainers.steps import load_optimizer_tensors, optimizer_tensors

_MODEL, _OPTIMIZER, _STEPS = "model.", "optimizer.", "steps"


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a training is, and how far it is."""

    path: Path

    def save(self, model: AdaptedModel, optimizer: torch.optim.Optimizer, n_done: int) -> None:
        """Write trained weights and optimizer state after `n_done` steps, all or nothing.

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
            save_file(tensors, partial, metadata={_STEPS: str(n_done)})
            partial.replace(self.path)
        except SafetensorError as error:  # a full disk, among others
            raise OSError(f"{self.path}: the checkpoint cannot be written ({error})") from error
        finally:
            partial.unlink(missing_ok=True)

    @property
    def n_done(self) -> int:
        """Steps that were done. Raises UserError as `load` does."""
        with self._opened() as file:
            return int(file.metadata()[_STEPS])

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


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
