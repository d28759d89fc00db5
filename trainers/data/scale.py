"""The scale of numbers to be learned: training sees them with mean 0 and standard deviation 1."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """Mean and standard deviation of the training rows' numbers, in the user's units."""

    mean: float
    std: float
