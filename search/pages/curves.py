"""The median and the quartiles of an objective along a knob, in bins of about equal size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.pages.knobs import Knob

MAX_BINS, MIN_IN_BIN = 8, 4
"""A number of more values than bins, or on a logarithmic axis, is cut into quantiles, each of
about so many trials at least."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The trials of one value, or of one stretch, of a knob."""

    place: float | str
    """The value, or the median of the stretch."""
    low: float
    """Lower quartile of the objective."""
    median: float
    high: float
    """Upper quartile."""
    n_trials: int
    stretch: tuple[float, float] | None
    """The least and greatest value in it; None of a choice."""


def bins_of(knob: Knob, values: Sequence[float]) -> list[Bin]:
    """Return the bins of a knob, lowest first; choices by their median, the lowest first.

    Args:
        knob: a value for each trial.
        values: the objective of each trial.
    """
    pairs = [(k, v) for k, v in zip(knob.values, values, strict=True) if k is not None]
    if not knob.is_number:
        choices = {str(k) for k, _ in pairs}
        groups = [[pair for pair in pairs if str(pair[0]) == choice] for choice in choices]
        bins = [_bin(str(group[0][0]), group, None) for group in groups]
        return sorted(bins, key=lambda found: (found.median, str(found.place)))
    numbers = np.array([float(k) for k, _ in pairs])
    distinct = np.unique(numbers)
    if len(distinct) <= MAX_BINS and not knob.log:
        edges = distinct
    else:
        n_bins = max(min(MAX_BINS, len(numbers) // MIN_IN_BIN), 1)
        # The lower edge of each bin; equal values never stand in two of them.
        cuts = np.quantile(numbers, np.linspace(0, 1, n_bins + 1)[:-1], method="higher")
        edges = np.unique(cuts)
    where = np.searchsorted(edges, numbers, side="right") - 1
    bins = []
    for index in range(len(edges)):
        group = [pair for pair, at in zip(pairs, where, strict=True) if at == index]
        own = [float(k) for k, _ in group]
        bins.append(_bin(float(np.median(own)), group, (min(own), max(own))))
    return bins


def enough(bins: Sequence[Bin], maximize: bool) -> tuple[Bin, Bin]:
    """Return the first bin that is about as good as the best one, and the best one.

    About as good is a median within the best bin's quartiles.
    """
    best = max(bins, key=lambda found: found.median if maximize else -found.median)
    first = next(
        found
        for found in bins
        if (found.median >= best.low if maximize else found.median <= best.high)
    )
    return first, best


def _bin(
    place: float | str,
    group: Sequence[tuple[float | str, float]],
    stretch: tuple[float, float] | None,
) -> Bin:
    low, median, high = np.quantile([value for _, value in group], [0.25, 0.5, 0.75])
    return Bin(
        place=place,
        low=float(low),
        median=float(median),
        high=float(high),
        n_trials=len(group),
        stretch=stretch,
    )
