"""Pareto-halving: what it may never stop, and what its decision depends on."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study import StudyDirection

from search.pruners import PRUNERS, NoPruner, ParetoHalving

MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
PRUNER = ParetoHalving()


@st.composite
def rungs(draw, least=1):
    """A rung of trials with few different values, so that ties are common, and directions."""
    n_objectives = draw(st.integers(1, 3))
    vector = st.lists(st.integers(0, 5).map(float), min_size=n_objectives, max_size=n_objectives)
    numbers = st.integers(0, 99)
    rung = draw(st.dictionaries(numbers, vector, min_size=least, max_size=14))
    directions = st.lists(
        st.sampled_from([MAXIMIZE, MINIMIZE]), min_size=n_objectives, max_size=n_objectives
    )
    return rung, draw(directions)


def dominates(one, other, directions):
    better = [
        (a > b) - (a < b) if way == MAXIMIZE else (b > a) - (b < a)
        for a, b, way in zip(one, other, directions, strict=True)
    ]
    return min(better) >= 0 and max(better) > 0


def peeled(rung, directions):
    """Ranks by the definition: take the front away, again and again."""
    left, ranks, rank = dict(rung), {}, 0
    while left:
        front = [
            number
            for number, values in left.items()
            if not any(dominates(other, values, directions) for other in left.values())
        ]
        for number in front:
            ranks[number] = rank
            del left[number]
        rank += 1
    return ranks


def stopped(rung, directions, pruner=PRUNER):
    return {number for number in rung if pruner.stops(number, rung, directions) is not None}


class TestParetoHalving:
    @given(rungs())
    def test_a_trial_on_the_front_of_its_rung_is_never_stopped(self, case):
        rung, directions = case
        for number in stopped(rung, directions):
            assert any(dominates(other, rung[number], directions) for other in rung.values())

    @settings(max_examples=300)
    @given(rungs(), st.sampled_from([2, 3, 4]), st.integers(0, 6))
    def test_decides_as_the_rule_says_with_ranks_by_their_definition(
        self, case, reduction, min_peers
    ):
        rung, directions = case
        ranks = peeled(rung, directions)
        expected = {
            number
            for number, rank in ranks.items()
            if len(rung) > min_peers
            and rank > 0
            and sum(other < rank for other in ranks.values()) >= len(rung) / reduction
        }
        pruner = ParetoHalving(reduction=reduction, min_peers=min_peers)
        assert stopped(rung, directions, pruner) == expected

    @given(rungs(), st.randoms(use_true_random=False))
    def test_the_order_and_the_numbers_of_the_trials_do_not_matter(self, case, random):
        rung, directions = case
        order = random.sample(sorted(rung), len(rung))
        renamed = {number: index for index, number in enumerate(order)}
        shuffled = {renamed[number]: rung[number] for number in order}
        for number in rung:
            assert PRUNER.stops(number, rung, directions) == PRUNER.stops(
                renamed[number], shuffled, directions
            )

    @given(
        rungs(),
        st.sampled_from(
            [lambda v: 7 * v, lambda v: v / 1024 - 3, lambda v: 2.0**v, lambda v: v**3]
        ),
        st.integers(0, 2),
    )
    def test_the_scale_of_an_objective_does_not_matter(self, case, scale, which):
        rung, directions = case
        index = which % len(directions)
        scaled = {
            number: [scale(value) if i == index else value for i, value in enumerate(values)]
            for number, values in rung.items()
        }
        assert stopped(scaled, directions) == stopped(rung, directions)

    @given(rungs(), st.integers(0, 2))
    def test_a_negated_objective_with_the_other_direction_is_the_same(self, case, which):
        rung, directions = case
        index = which % len(directions)
        other = {MAXIMIZE: MINIMIZE, MINIMIZE: MAXIMIZE}
        turned = [other[way] if i == index else way for i, way in enumerate(directions)]
        negated = {
            number: [-value if i == index else value for i, value in enumerate(values)]
            for number, values in rung.items()
        }
        assert stopped(negated, turned) == stopped(rung, directions)

    @given(rungs())
    def test_what_a_stopped_trial_dominates_is_stopped_too(self, case):
        rung, directions = case
        ends = stopped(rung, directions)
        for number in ends:
            for other, values in rung.items():
                if dominates(rung[number], values, directions):
                    assert other in ends

    @given(rungs())
    def test_a_share_of_the_rung_always_goes_on(self, case):
        rung, directions = case
        n_going_on = len(rung) - len(stopped(rung, directions))
        assert n_going_on >= math.ceil(len(rung) / PRUNER.reduction)

    @pytest.mark.parametrize(("n_trials", "stops"), [(1, False), (4, False), (5, True), (9, True)])
    def test_decides_nothing_before_there_are_enough_peers(self, n_trials, stops):
        rung = {number: [float(number)] for number in range(n_trials)}
        assert (PRUNER.stops(0, rung, [MAXIMIZE]) is not None) == stops

    def test_a_cheap_trial_is_kept_though_it_is_the_worst_in_accuracy(self):
        rung = {n: [0.9 - n / 100, 1.0] for n in range(6)} | {6: [0.2, 0.1]}
        assert 6 not in stopped(rung, [MAXIMIZE, MINIMIZE])
        assert {4, 5} <= stopped(rung, [MAXIMIZE, MINIMIZE])

    def test_the_reason_tells_place_and_front(self):
        rung = {number: [float(number)] for number in range(8)}
        assert PRUNER.stops(1, rung, [MAXIMIZE]) == "behind 6 of 8 trials at this rung (front 7)"


class TestRungs:
    @pytest.mark.parametrize(
        ("epochs", "expected"),
        [(1, ()), (2, (1,)), (3, (1, 2)), (4, (1, 2)), (5, (1, 2, 4)), (8, (1, 2, 4))],
    )
    def test_lie_at_powers_of_two_below_the_last_epoch(self, epochs, expected):
        assert PRUNER.rungs(epochs) == expected

    @given(st.integers(1, 2000), st.integers(2, 7))
    def test_are_all_powers_of_the_reduction_below_the_last_epoch(self, epochs, reduction):
        powers = [reduction**i for i in range(12)]
        expected = tuple(power for power in powers if power < epochs)
        assert ParetoHalving(reduction=reduction).rungs(epochs) == expected


class TestNoPruner:
    @given(rungs())
    def test_stops_nothing_and_has_no_rungs(self, case):
        assert stopped(*case, pruner=NoPruner()) == set()
        assert NoPruner().rungs(8) == ()


def test_the_names_of_the_study_file_are_these():
    assert {name: type(pruner) for name, pruner in PRUNERS.items()} == {
        "pareto-halving": ParetoHalving,
        "none": NoPruner,
    }
