"""Images as people see them, and their patches."""

import io
from typing import Any

import numpy
from PIL import Image
from torch import Tensor


def sums_of_patches(scores: Tensor, size: tuple[int, int]) -> tuple[tuple[float, ...], ...]:
    """Return the sum of each patch of (height, width)."""
    height, width = size
    rows, columns = scores.shape[0] // height, scores.shape[1] // width
    sums = scores[: rows * height, : columns * width]
    sums = sums.reshape(rows, height, columns, width).sum((1, 3))
    return tuple(tuple(row) for row in sums.tolist())


def png_of(pixels: Any) -> bytes:
    """Return an image (channels, height, width) of uint8 as PNG."""
    table = numpy.asarray(pixels).transpose(1, 2, 0)
    image = Image.fromarray(table.squeeze(-1) if table.shape[-1] == 1 else table)
    held = io.BytesIO()
    image.save(held, format="PNG")
    return held.getvalue()
