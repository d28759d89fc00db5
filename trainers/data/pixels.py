"""Images as a backbone reads them: made once a study and shared by all of its trials.

`B` batch, `C` channels, `H` height, `W` width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from trainers.data.batch import Batch, Rows
from trainers.data.dataset import Split
from trainers.image_input import ImageInput


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTable:
    """Images with their labels."""

    pixels: NDArray[numpy.uint8]
    """Shape (rows, C, H, W); scaled when a batch is made, so that a quarter of the memory does."""
    labels: NDArray[Any]
    """Shape (rows,)."""
    image: ImageInput

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know: nothing, as images are read whole."""
        return ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """Shape (rows,): tokens of each row, the same for all."""
        return numpy.full(len(self), self.image.n_tokens, dtype=numpy.int64)

    def collate(self, rows: Sequence[int] | Rows) -> Batch:
        """Build the batch of these rows: pixel_values (B, C, H, W), scaled."""
        index = numpy.asarray(rows, dtype=numpy.int64)
        mean = torch.tensor(self.image.mean).view(-1, 1, 1)
        std = torch.tensor(self.image.std).view(-1, 1, 1)
        pixels = torch.from_numpy(self.pixels[index]).float() / 255
        return Batch(
            inputs={"pixel_values": (pixels - mean) / std},
            labels=torch.from_numpy(self.labels[index]),
        )


def image_table(split: Split, image: ImageInput) -> ImageTable:
    """Return the table of a split of images."""
    pixels: Any = split.inputs["image"]
    return ImageTable(pixels=pixels, labels=split.labels, image=image)
