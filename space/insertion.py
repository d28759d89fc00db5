"""Insertion layers: which of the blocks that run carry adapters.

Three ways to search them: named `patterns` (few, portable between depths), `windows` (a run of
neighbouring blocks, counted from the top) and `free` (a yes or no for each block).
"""

from collections.abc import Callable
from math import ceil
from typing import Any

from space.suggest import Suggest

PATTERNS: dict[str, Callable[[int], range]] = {
    "all": lambda depth: range(depth),
    "upper_half": lambda depth: range(depth - ceil(depth / 2), depth),
    "upper_third": lambda depth: range(depth - ceil(depth / 3), depth),
    "last": lambda depth: range(depth - 1, depth),
    "lower_half": lambda depth: range(ceil(depth / 2)),
    "every_second": lambda depth: range((depth - 1) % 2, depth, 2),
}
"""Named patterns: depth -> the blocks that carry adapters."""

MODES = ("windows", "free")
"""Words that stand in place of a list of patterns."""


def sample_insertion(
    insertion: tuple[str, ...] | str, depth: int, max_depth: int, trial: Suggest
) -> tuple[int, ...]:
    """Return the sampled insertion layers for a backbone of which `depth` blocks run.

    Args:
        insertion: names of patterns, or one of the words of MODES.
        depth: how many blocks run in this structure.
        max_depth: the greatest depth of the space; ranges must not change between trials.
        trial: where the values come from.
    """
    if insertion == "windows":
        # Ranges that depended on the depth would be other parameters to the sampler; so both
        # count over the greatest depth and are cut to what runs.
        n_layers = trial.suggest_int("insertion_length", 1, max_depth)
        skipped = trial.suggest_int("insertion_offset", 0, max_depth - 1)
        top = max(depth - skipped, 1)
        return tuple(range(max(top - n_layers, 0), top))
    if insertion == "free":
        chosen = (trial.suggest_categorical(f"insert_{i}", (True, False)) for i in range(depth))
        return tuple(i for i, taken in enumerate(chosen) if taken)
    name = insertion[0]
    if len(insertion) > 1:
        name = trial.suggest_categorical("insertion", insertion)
    return tuple(PATTERNS[name](depth))


def insertion_params(
    insertion: tuple[str, ...] | str, depth: int, layers: tuple[int, ...]
) -> dict[str, Any]:
    """Return the parameters that make `sample_insertion` give these layers, as far as it can."""
    if insertion == "windows":
        return {"insertion_length": len(layers), "insertion_offset": depth - 1 - layers[-1]}
    if insertion == "free":
        return {f"insert_{i}": i in layers for i in range(depth)}
    fitting = [name for name in insertion if tuple(PATTERNS[name](depth)) == layers]
    return {"insertion": fitting[0]} if fitting else {}
