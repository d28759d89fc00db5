"""Fronts, spread and places of vectors, against their definitions."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.ranking import n_dominating, non_dominated_ranks, ranking_of
from tests.search.rung_cases import (
    MINIMIZE,
    dominates,
    peeled,
    places,
    random_rung,
    rungs,
)

TWO = [MINIMIZE, MINIMIZE]


def test_places_and_fronts_agree_with_an_oracle_on_random_rungs():
    generator = random.Random(0)
    for _ in range(2_000):
        rung, directions = random_rung(generator)
        ranking = ranking_of(list(rung.values()), directions)
        assert dict(zip(rung, ranking.fronts, strict=True)) == peeled(rung, directions), rung
        assert dict(zip(rung, ranking.places, strict=True)) == places(rung, directions), rung


class TestPlaces:
    def test_a_line_is_ranked_in_its_order(self):
        assert ranking_of([[1, 1], [5, 5], [2, 2], [3, 3]], TWO).places == (0, 3, 1, 2)

    def test_within_a_front_the_ends_come_first_and_the_crowded_last(self):
        front = [[0, 10], [1, 9], [2, 8], [6, 4], [10, 0]]
        # Of the ends the better in the first objective; then the widest gap between neighbours.
        assert ranking_of(front, TWO).places == (0, 4, 3, 2, 1)

    def test_the_spread_is_measured_on_the_range_of_all(self):
        front = [[0, 100], [1, 60], [2, 50], [3, 0]]
        far = [[1000, 1000]]
        # Alone [1, 60] and [2, 50] have gaps of 2/3 + 50/100 and 2/3 + 60/100.
        assert ranking_of(front, TWO).places == (0, 3, 2, 1)
        assert ranking_of(front + far, TWO).places == (0, 3, 2, 1, 4)

    def test_equal_vectors_share_the_better_place(self):
        assert ranking_of([[1, 1], [0, 0], [1, 1], [2, 2]], TWO).places == (1, 0, 1, 3)

    def test_what_is_no_number_is_the_worst(self):
        ranking = ranking_of([[math.nan, 1], [0, 1], [math.inf, 1], [5, 1]], TWO)
        assert ranking.places == (2, 0, 2, 1)

    def test_the_two_zeros_are_one(self):
        assert ranking_of([[0.0, 1], [-0.0, 1]], TWO).places == (0, 0)

    def test_of_nothing_there_is_none(self):
        assert ranking_of([], TWO).places == () and non_dominated_ranks([], TWO) == []


@given(rungs())
def test_how_many_dominate_a_vector_is_counted(case):
    rung, directions = case
    for values in rung.values():
        expected = sum(dominates(other, values, directions) for other in rung.values())
        assert n_dominating(values, list(rung.values()), directions) == expected


@pytest.mark.parametrize("n_objectives", [1, 2, 3])
@given(seed=st.integers(0, 99))
def test_vectors_without_ties_have_every_place_once(n_objectives, seed):
    generator = random.Random(seed)
    vectors = [[generator.random() for _ in range(n_objectives)] for _ in range(100)]
    assert sorted(ranking_of(vectors, [MINIMIZE] * n_objectives).places) == list(range(100))
