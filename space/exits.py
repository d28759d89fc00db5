"""Early exits: behind which blocks a small head may answer for easy samples."""

from collections.abc import Callable

EXIT_PATTERNS: dict[str, Callable[[int], tuple[int, ...]]] = {
    "none": lambda depth: (),
    "middle": lambda depth: _between(depth, 2),
    "thirds": lambda depth: _between(depth, 3),
    "every": lambda depth: tuple(range(1, depth)),
}
"""Named patterns: depth -> the numbers of blocks behind which an exit stands."""


def _between(depth: int, n_parts: int) -> tuple[int, ...]:
    cuts = {round(depth * part / n_parts) for part in range(1, n_parts)}
    return tuple(sorted(cut for cut in cuts if 1 <= cut < depth))
