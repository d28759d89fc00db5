"""The statistics of confirmed results: what chance alone may do to a score, a difference, a rank.

Chance comes from two sides: which rows were drawn into the test split, and which seed a training
had. Both are resampled at once, rows and seeds each with replacement (Owen 2007, "The pigeonhole
bootstrap", arXiv 0712.1111), which errs on the careful side. Of S seeds S - 1 are drawn each time:
with few of them S would make too little of how trainings differ (Rao and Wu 1988, "Resampling
inference with complex survey data"). Two points are compared on the same
resampled rows and seeds, so that what makes a row hard for both takes no part in the difference.

Shapes: `R` resamples, `S` seeds, `N` rows.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy
from numpy.typing import NDArray

Floats = NDArray[numpy.float64]

N_RESAMPLES = 2000
LEVEL = 0.05
"""A difference whose corrected p-value is not below it is within noise."""
_SEED = 20260101
_CHUNK = 100


def resampled_scores(sums: Sequence[Floats], value: Callable[[Floats], Floats]) -> Floats:
    """Return the mean score over the seeds in every resample, shape (R,).

    Args:
        sums: for each seed, shape (N, K): what is summed up over rows to give the score.
        value: from totals (..., K) to the score (...).
    """
    n_seeds, width = len(sums), sums[0].shape[1]
    side_by_side = numpy.concatenate(sums, axis=1)  # (N, S * K)
    weights = _row_weights(len(side_by_side))
    totals = numpy.concatenate(
        [
            weights[at : at + _CHUNK].astype(numpy.float64) @ side_by_side
            for at in range(0, N_RESAMPLES, _CHUNK)
        ]
    )
    scores = value(totals.reshape(N_RESAMPLES, n_seeds, width))  # (R, S)
    return _over_seeds(scores)


def resampled_means(values: Sequence[float]) -> Floats:
    """Return the mean over the seeds in every resample, shape (R,), of what rows do not make."""
    return _over_seeds(numpy.tile(numpy.asarray(values, numpy.float64), (N_RESAMPLES, 1)))


def _over_seeds(scores: Floats) -> Floats:
    drawn = _seed_draws(scores.shape[1])
    means: Floats = numpy.take_along_axis(scores, drawn, axis=1).mean(axis=1)
    return means


@lru_cache(maxsize=1)
def _row_weights(n_rows: int) -> NDArray[numpy.uint8]:
    """Return how often each resample drew each row, shape (R, N): the same for all points."""
    draw = numpy.random.default_rng(_SEED)
    weights = numpy.empty((N_RESAMPLES, n_rows), numpy.uint8)
    for resample in weights:
        counts = numpy.bincount(draw.integers(n_rows, size=n_rows), minlength=n_rows)
        resample[:] = numpy.minimum(counts, 255)
    return weights


def _seed_draws(n_seeds: int) -> NDArray[numpy.int64]:
    draws: NDArray[numpy.int64] = numpy.random.default_rng(_SEED + 1).integers(
        n_seeds, size=(N_RESAMPLES, max(1, n_seeds - 1))
    )
    return draws


def interval_of(resampled: Floats) -> tuple[float, float]:
    """Return the percentile interval that holds 95 % of the resamples."""
    low, high = numpy.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def p_value_of(differences: Floats) -> float:
    """Return the two-sided p-value of a difference: how often resamples lie on either side of 0.

    Never below 1 / (R + 1), which is all that so many resamples can tell.
    """
    n = len(differences)
    least = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (n + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are, by Holm's step-down rule (1979).

    The k-th smallest of m is multiplied by m - k + 1; none is below a smaller one's.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, greatest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        greatest = max(greatest, min(1.0, (len(order) - place) * p_values[index]))
        corrected[index] = greatest
    return corrected
