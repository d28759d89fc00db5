"""The kind `side`: a narrow network beside the backbone, which reads outputs of its frozen blocks.

Ladder side tuning, Sung et al. 2022 (arXiv 2206.06522). Nothing flows back into the blocks, so
that no backward pass runs through them, and all that is read of them can be cached.
"""

from dataclasses import dataclass

from space.kinds import KINDS

SIDE = "side"
"""Its name among the kinds of a space. It serves no role, and so stands in no block."""

SPACE_KINDS = (*KINDS, SIDE)
"""All that may stand among the kinds of a space: those that serve roles, and `side`."""

FFN_FACTOR = 4
"""The feed-forward layer of a side block is so many times as wide as the side network."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A side network: one small block for each boundary that it reads.

    Raises:
        ValueError: a width or a boundary below 1, no boundary, or one that stands twice.
    """

    width: int
    """Of its hidden states."""
    boundaries: tuple[int, ...]
    """It reads the hidden states behind so many blocks of the backbone, lowest first."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"The width of a side network is at least 1, but got {self.width}.")
        if not self.boundaries:
            raise ValueError("A side network reads at least one boundary, but got none.")
        if min(self.boundaries) < 1:
            raise ValueError(
                "A side network reads behind 1 block or more, but got a boundary of"
                f" {min(self.boundaries)}."
            )
        if len(set(self.boundaries)) < len(self.boundaries):
            raise ValueError(
                f"A side network reads a boundary once, but got {sorted(self.boundaries)}."
            )
        object.__setattr__(self, "boundaries", tuple(sorted(self.boundaries)))

    def n_params(self, width: int) -> int:
        """Return its trained parameters beside a backbone of some width."""
        n_blocks, inner = len(self.boundaries), FFN_FACTOR * self.width
        down = (width + 1) * self.width
        norm = 2 * self.width
        ffn = 2 * inner * self.width + inner + self.width
        gates = n_blocks - 1
        return n_blocks * (down + norm + ffn) + gates + norm + self.width * width

    def macs(self, width: int) -> int:
        """Return its multiply-accumulates per token beside a backbone of some width."""
        n_blocks = len(self.boundaries)
        ffn = 2 * FFN_FACTOR * self.width**2
        return n_blocks * (self._down_macs(width) + ffn) + self.width * width

    def training_macs(self, width: int) -> int:
        """Return those of a forward and a backward pass: none leads into what it reads."""
        return 3 * self.macs(width) - len(self.boundaries) * self._down_macs(width)

    def _down_macs(self, width: int) -> int:
        return width * self.width
