"""The trained weights of a trial on disk: safetensors, written whole or not at all."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from space.errors import UserError
from trainers.model import AdaptedModel

FILE_NAME = "adapter.safetensors"


def trial_folder(folder: Path, number: int) -> Path:
    """Return where a trial's weights are below the study's folder."""
    return folder / f"trial-{number:05d}"


def save_weights(model: AdaptedModel, folder: Path, number: int) -> Path:
    """Write what was trained in a trial; return the file."""
    target = trial_folder(folder, number) / FILE_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(model.trained_state(), target)
    return target


def write_tensors(state: Mapping[str, Tensor], target: Path) -> None:
    """Write tensors so that a crash or a full disk leaves the old file or none, never a part.

    Raises:
        OSError: the file cannot be written.
    """
    partial = target.with_suffix(".partial")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        save_file(tensors, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except SafetensorError as error:
        raise write_error(target, error) from error
    finally:
        partial.unlink(missing_ok=True)


def write_error(path: Path, error: SafetensorError) -> OSError:
    """Return what safetensors tells of a full disk, or a folder that is gone, as Python would."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is None:
        return OSError(f"{path}: {error}")
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        UserError: the file is missing or no safetensors file.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: the trained weights are missing.") from error
    except SafetensorError as error:
        raise UserError(f"{path}: no complete safetensors file ({error}).") from error
