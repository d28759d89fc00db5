"""Image files as pixels: opened safely, and brought to what a backbone reads.

Shapes: `C` channels, `H` height, `W` width.
"""

import io
import warnings
from pathlib import Path

import numpy
import pandas
from numpy.typing import NDArray
from PIL import Image, ImageOps

from space.errors import UserError
from trainers.image_input import ImageInput

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_WIDE_MODES = ("I", "F")  # 32 bits a pixel, of which nobody says what is white
_OF_16_BITS = "I;16"

Pixels = NDArray[numpy.uint8]


def pixels_of(frame: pandas.DataFrame, image: ImageInput, where: str) -> Pixels:
    """Return the images of a frame as a backbone reads them: (rows, C, H, W).

    An image is turned as its camera says, becomes grey or coloured (what is transparent keeps the
    colour below), and is scaled to the backbone's size, whole: its shape may change, where some
    backbones' own processors would cut off the rim instead. Of an animation the first picture is
    read; 16 bits a channel become 8.

    Args:
        frame: `image` holds paths, arrays (H, W) or (H, W, C) of uint8, or what a file holds
            (bytes); `name` what messages call them.
        image: what the backbone reads.
        where: what the user wrote the images under, for messages.

    Raises:
        UserError: an image cannot be opened, or is far too large.
    """
    if image.n_channels not in _MODES:
        raise UserError(
            f"backbone: it reads images of {image.n_channels} channels; only"
            f" {', '.join(map(str, _MODES))} are served (grey, coloured, with transparency)."
        )
    shape = (len(frame), image.n_channels, *image.size)
    pixels = numpy.empty(shape, dtype=numpy.uint8)
    for place, (source, name) in enumerate(zip(frame["image"], frame["name"], strict=True)):
        pixels[place] = _read(source, image, f"{where}: the image `{name}`")
    return pixels


def _read(source: Path | Pixels | bytes, image: ImageInput, place: str) -> Pixels:
    try:
        return _scaled(_opened(source), image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{place} is too large ({error}). Make it smaller first.") from error
    # A decoder that is given broken bytes may raise anything.
    except Exception as error:
        raise UserError(
            f"{place} cannot be read ({error or type(error).__name__})."
            f" Formats: {', '.join(_FORMATS)}."
        ) from error


def _opened(source: Path | Pixels | bytes) -> Image.Image:
    """Return an image of 8 bits a channel."""
    if isinstance(source, numpy.ndarray):
        grey = source.ndim == 3 and source.shape[-1] == 1
        return Image.fromarray(source.squeeze(-1) if grey else source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which is not read
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_FORMATS) as opened:
            opened.load()
            turned = ImageOps.exif_transpose(opened)
    if turned.mode in _WIDE_MODES:
        raise ValueError(f"its pixels are of mode {turned.mode}; save it with 8 bits a channel")
    if turned.mode.startswith(_OF_16_BITS):
        # Pillow itself would make all but the darkest of them white.
        return Image.fromarray((numpy.asarray(turned) // 257).astype(numpy.uint8))
    return turned


def _scaled(opened: Image.Image, image: ImageInput) -> Pixels:
    height, width = image.size
    converted = opened.convert(_MODES[image.n_channels])
    if converted.size != (width, height):
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    table = numpy.asarray(converted, dtype=numpy.uint8)
    return table[None] if table.ndim == 2 else table.transpose(2, 0, 1)
