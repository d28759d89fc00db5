"""The statistics of confirmed results, against scipy and closed forms."""

import numpy as np
import pytest
from scipy import stats

from search.statistics import (
    N_RESAMPLES,
    holm,
    interval_of,
    p_value_of,
    resampled_means,
    resampled_scores,
)

N_ROWS = 500


def share(totals):
    return totals[..., 0] / totals[..., 1]


def columns(right):
    return np.stack([right.astype(float), np.ones(len(right))], axis=1)


@pytest.fixture
def right():
    """For three seeds which rows are right: hard rows are hard for all."""
    draw = np.random.default_rng(0)
    hardness = draw.random(N_ROWS)
    return [hardness + 0.1 * draw.standard_normal(N_ROWS) < 0.7 for _ in range(3)]


def test_the_interval_of_one_training_is_that_of_scipys_bootstrap(right):
    own = interval_of(resampled_scores([columns(right[0])], share))
    theirs = stats.bootstrap(
        (right[0].astype(float),),
        np.mean,
        n_resamples=N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert own == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_the_interval_of_a_difference_is_that_of_scipys_paired_bootstrap(right):
    pair = [columns(right[0]), columns(right[1])]
    differences = resampled_scores(pair[:1], share) - resampled_scores(pair[1:], share)
    theirs = stats.bootstrap(
        (right[0].astype(float), right[1].astype(float)),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert interval_of(differences) == pytest.approx((theirs.low, theirs.high), abs=0.004)


@pytest.mark.parametrize("n_better", [0, 8, 20, 45])
def test_the_p_value_of_one_training_is_near_that_of_mcnemars_test(n_better):
    """Of 40 rows that only one of two is right about, and `n_better` more that the first is."""
    first, second = np.zeros(N_ROWS, bool), np.zeros(N_ROWS, bool)
    first[: 20 + n_better] = True
    second[400:420] = True
    own = p_value_of(
        resampled_scores([columns(first)], share) - resampled_scores([columns(second)], share)
    )
    # Without the correction for continuity: chi2 = (b - c)^2 / (b + c).
    theirs = stats.chi2.sf(n_better**2 / (40 + n_better), df=1)
    assert own == pytest.approx(theirs, abs=0.07)
    assert (own < 0.05) == (theirs < 0.05)


def test_equal_trainings_do_not_differ(right):
    resampled = resampled_scores([columns(r) for r in right], share)
    assert p_value_of(resampled - resampled) == 1.0
    assert interval_of(resampled - resampled) == (0.0, 0.0)


def test_more_resamples_on_one_side_than_there_are_give_no_p_value_of_zero():
    assert p_value_of(np.ones(N_RESAMPLES)) == 2 / (N_RESAMPLES + 1)


@pytest.mark.parametrize("values", [(1.0, 3.0), (1.0, 2.0, 6.0), tuple(range(10))])
def test_means_over_few_seeds_vary_as_much_as_a_mean_of_so_many_does(values):
    # The squared standard error is s^2 / n; a plain bootstrap would give (n - 1) / n of it.
    variance = np.var(values, ddof=1) / len(values)
    assert resampled_means(values).var() == pytest.approx(variance, rel=0.1)
    assert resampled_means(values).mean() == pytest.approx(np.mean(values), rel=0.05)


def test_one_seed_has_no_spread():
    assert interval_of(resampled_means([4.5])) == (4.5, 4.5)


def test_seeds_that_differ_make_the_interval_wider(right):
    worse = [right[0], right[0] & (np.arange(N_ROWS) % 4 > 0), right[0]]
    low, high = interval_of(resampled_scores([columns(r) for r in worse], share))
    one_low, one_high = interval_of(resampled_scores([columns(right[0])], share))
    assert high - low > one_high - one_low


def test_rows_are_the_same_in_all_resamples_of_one_size(right):
    sums = [columns(right[0])]
    assert (resampled_scores(sums, share) == resampled_scores(sums, share)).all()


def test_holms_rule_is_that_of_its_definition():
    # Sorted: .01, .03, .04 become 3 x .01, 2 x .03, max(.06, 1 x .04).
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_rejects_no_more_than_bonferroni_and_no_less_than_none():
    p_values = list(np.random.default_rng(0).random(12) ** 3)
    corrected = holm(p_values)
    assert all(
        p <= c <= min(1, len(p_values) * p) for p, c in zip(p_values, corrected, strict=True)
    )
    order = np.argsort(p_values)
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
