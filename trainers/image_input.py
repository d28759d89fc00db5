"""What images a backbone reads: their size, channels and scale."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from space.errors import UserError

CONFIG_FILE = "preprocessor_config.json"
_NEEDED = ("num_channels", "image_size", "patch_size")


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """How an image becomes what a backbone reads: (pixel / 255 - mean) / std."""

    size: tuple[int, int]
    """(height, width) in pixels."""
    n_channels: int
    mean: tuple[float, ...]
    """For each channel."""
    std: tuple[float, ...]
    n_tokens: int
    """Patches, and the tokens beside them."""


def image_input(name: str, source: str, config: Any) -> ImageInput:
    """Return what images a backbone reads, from its preprocessor_config.json and its config.

    One token beside the patches is taken for granted; what a family has beyond it is seen later.

    Raises:
        UserError: the file is broken, the size does not fall into patches, or there are none.
    """
    found = _preprocessor(name, source)
    lacking = [key for key in _NEEDED if not hasattr(config, key)]
    if lacking:
        raise UserError(
            f"backbone: the config of {name!r} ({config.model_type}) has no {', '.join(lacking)};"
            " only vision transformers, which cut an image into patches, are served."
        )
    n_channels = int(config.num_channels)
    size = _size(found.get("crop_size") if found.get("do_center_crop") else found.get("size"))
    size = size or _size(config.image_size)
    patch = _size(config.patch_size)
    assert size is not None and patch is not None
    if size[0] % patch[0] or size[1] % patch[1]:
        raise UserError(
            f"backbone: {name!r} reads images of {size[0]} x {size[1]} pixels, which do not fall"
            f" into patches of {patch[0]} x {patch[1]} ({CONFIG_FILE})."
        )
    return ImageInput(
        size=size,
        n_channels=n_channels,
        mean=_each(found.get("image_mean", 0.5), n_channels),
        std=_each(found.get("image_std", 0.5), n_channels),
        n_tokens=(size[0] // patch[0]) * (size[1] // patch[1]) + 1,
    )


def _preprocessor(name: str, source: str) -> dict[str, Any]:
    path = Path(source) / CONFIG_FILE
    if not Path(source).is_dir():
        path = Path(
            cached_file(source, CONFIG_FILE, _raise_exceptions_for_missing_entries=False) or ""
        )
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"backbone: {path} of {name!r} is not JSON ({error}).") from error
    return found if isinstance(found, dict) else {}


def _size(value: Any) -> tuple[int, int] | None:
    """Return (height, width) of any of the spellings that there are."""
    if isinstance(value, dict):
        edge = value.get("shortest_edge")
        height, width = value.get("height", edge), value.get("width", edge)
        return None if height is None or width is None else (int(height), int(width))
    if isinstance(value, (list, tuple)):
        return int(value[0]), int(value[1])
    return None if value is None else (int(value), int(value))


def _each(value: Any, n_channels: int) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list) else (float(value),) * n_channels
