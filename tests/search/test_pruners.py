"""Pareto-halving: what it may never stop, and what its decision depends on."""

import random
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from search.pruners import (
    PRUNERS,
    AccuracyHalving,
    NoPruner,
    ParetoHalving,
    make_pruner,
    may_return,
    stopped_at,
)
from tests.search.rung_cases import (
    MAXIMIZE,
    MINIMIZE,
    dominates,
    peeled,
    places,
    random_rung,
    rungs,
)

PRUNER = ParetoHalving()
TWO = [MINIMIZE, MINIMIZE]


def stopped(rung, directions, pruner=PRUNER):
    return {number for number in rung if pruner.stops(number, rung, directions) is not None}


class TestCounterexamples:
    """Where a sorted list of indices taken for ranks decides wrongly (minimised, eta 3)."""

    THIRD = ParetoHalving(reduction=3, min_peers=3)

    def test_a_newcomer_behind_two_of_three_is_stopped(self):
        rung = {0: [1.0, 1.0], 1: [5.0, 5.0], 2: [2.0, 2.0], 3: [3.0, 3.0]}
        reason = self.THIRD.stops(3, rung, TWO)
        assert reason == "behind 2 of 4 trials at this rung (front 3)"

    def test_a_newcomer_behind_one_of_three_goes_on(self):
        rung = {0: [1.0, 1.0], 1: [2.0, 2.0], 2: [9.0, 9.0], 3: [1.5, 1.5]}
        assert self.THIRD.stops(3, rung, TWO) is None

    def test_with_more_peers_asked_for_nothing_is_decided_yet(self):
        rung = {0: [1.0, 1.0], 1: [5.0, 5.0], 2: [2.0, 2.0], 3: [3.0, 3.0]}
        assert ParetoHalving(reduction=3, min_peers=4).stops(3, rung, TWO) is None


class TestParetoHalving:
    @given(rungs())
    def test_a_trial_on_the_front_of_its_rung_is_never_stopped(self, case):
        rung, directions = case
        for number in stopped(rung, directions):
            assert any(dominates(other, rung[number], directions) for other in rung.values())

    def test_agrees_with_an_oracle_on_ten_thousand_rungs(self):
        generator = random.Random(1)
        for _ in range(10_000):
            rung, directions = random_rung(generator)
            reduction, min_peers = generator.choice([2, 3, 4]), generator.randint(0, 6)
            fronts, before = peeled(rung, directions), places(rung, directions)
            number = generator.choice(sorted(rung))
            expected = (
                len(rung) > min_peers
                and fronts[number] > 0
                and before[number] / len(rung) > 1 / reduction
            )
            pruner = ParetoHalving(reduction=reduction, min_peers=min_peers)
            stops = pruner.stops(number, rung, directions) is not None
            assert stops == expected, (number, rung, directions)

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
        st.floats(1e-6, 1e6),
        st.floats(-1e3, 1e3),
        st.integers(0, 2),
    )
    def test_the_scale_of_an_objective_does_not_matter(self, case, factor, shift, which):
        rung, directions = case
        index = which % len(directions)

        def scaled(value):
            return factor * value + shift

        # Values that differ must still do so, well above the rounding of a float.
        assume(scaled(1.0) - scaled(0.0) > 1e-4 * max(1.0, abs(shift)) or factor > 1)
        other = {
            number: [scaled(value) if i == index else value for i, value in enumerate(values)]
            for number, values in rung.items()
        }
        assert stopped(other, directions) == stopped(rung, directions)

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

    @settings(suppress_health_check=[HealthCheck.filter_too_much])  # few cases have such a front
    @given(rungs(least=4), st.lists(st.integers(0, 3), min_size=3, max_size=3))
    def test_a_trial_that_its_front_stops_is_stopped_with_worse_values_too(self, case, worse):
        rung, directions = case
        number = min(rung)
        fronts = peeled(rung, directions)
        # What stands on better fronts is enough to stop it. (Where its own front has to decide,
        # a worse value may well be a less crowded place.)
        assume(sum(front < fronts[number] for front in fronts.values()) * 2 > len(rung))
        changed = [
            value + (step if way == MINIMIZE else -step)
            for value, step, way in zip(rung[number], worse, directions, strict=False)
        ]
        assert number in stopped(rung, directions)
        assert number in stopped({**rung, number: changed}, directions)

    @given(rungs())
    def test_a_share_of_the_rung_always_goes_on(self, case):
        rung, directions = case
        n_going_on = len(rung) - len(stopped(rung, directions))
        assert n_going_on * PRUNER.reduction >= len(rung)

    @pytest.mark.parametrize(("n_trials", "stops"), [(1, False), (3, False), (4, True), (9, True)])
    def test_decides_nothing_before_there_are_enough_peers(self, n_trials, stops):
        rung = {number: [float(number)] for number in range(n_trials)}
        pruner = ParetoHalving(min_peers=3)
        assert (pruner.stops(0, rung, [MAXIMIZE]) is not None) == stops

    def test_a_cheap_trial_is_kept_though_it_is_the_worst_in_accuracy(self):
        rung = {n: [0.9 - n / 100, 1.0] for n in range(6)} | {6: [0.2, 0.1]}
        assert 6 not in stopped(rung, [MAXIMIZE, MINIMIZE])
        assert {4, 5} <= stopped(rung, [MAXIMIZE, MINIMIZE])

    def test_of_one_front_the_most_crowded_are_stopped(self):
        front = {n: [float(n), 8.0 - n] for n in range(9)}
        best = {9: [-1.0, 8.0], 10: [8.0, -1.0], 11: [-0.5, -0.5]}
        crowded = {12: [4.1, 4.1], 13: [4.2, 4.05]}
        ends = stopped({**front, **best, **crowded}, TWO, ParetoHalving(reduction=2))
        assert {12, 13} <= ends and not set(best) & ends

    def test_the_reason_tells_place_and_front(self):
        rung = {number: [float(number)] for number in range(8)}
        assert PRUNER.stops(1, rung, [MAXIMIZE]) == "behind 6 of 8 trials at this rung (front 7)"

    def test_a_thousand_vectors_take_less_than_half_a_second(self):
        generator = random.Random(0)
        rung = {n: [generator.random(), generator.random()] for n in range(1000)}
        began = time.perf_counter()
        PRUNER.stops(0, rung, TWO)
        assert time.perf_counter() - began < 0.5


class TestAccuracyHalving:
    @given(rungs())
    def test_is_successive_halving_on_the_first_objective(self, case):
        rung, directions = case
        sign = -1 if directions[0] == MAXIMIZE else 1
        losses = {number: sign * values[0] for number, values in rung.items()}
        expected = {
            number
            for number, own in losses.items()
            if len(rung) > 3 and sum(loss < own for loss in losses.values()) * 2 > len(rung)
        }
        assert stopped(rung, directions, AccuracyHalving(reduction=2, min_peers=3)) == expected

    def test_stops_what_is_cheap_and_weak(self):
        rung = {n: [0.9 - n / 100, 1.0] for n in range(6)} | {6: [0.2, 0.1]}
        assert 6 in stopped(rung, [MAXIMIZE, MINIMIZE], AccuracyHalving())

    def test_has_the_settings_and_rungs_of_pareto_halving(self):
        settings = {"reduction": 3, "first_rung": 0.5, "min_peers": 5, "patience": 2}
        pruner = make_pruner("accuracy-halving", **settings)
        assert vars(pruner) == settings == vars(make_pruner("pareto-halving", **settings))
        assert pruner.rungs(5) == (0.5, 1.5, 4.5)


class TestRungs:
    @pytest.mark.parametrize(
        ("epochs", "expected"),
        [(1, ()), (2, (1,)), (3, (1, 2)), (4, (1, 2)), (5, (1, 2, 4)), (8, (1, 2, 4))],
    )
    def test_lie_at_powers_of_two_below_the_last_epoch(self, epochs, expected):
        assert ParetoHalving(reduction=2).rungs(epochs) == expected

    @pytest.mark.parametrize(
        ("first", "reduction", "epochs", "expected"),
        [
            (0.25, 2, 1, (0.25, 0.5)),
            (0.25, 2, 3, (0.25, 0.5, 1, 2)),
            (0.1, 3, 3, (0.1, 0.3, 0.9, 2.7)),
            (0.5, 3, 4, (0.5, 1.5)),
            (1.5, 2, 4, (1.5, 3)),
            (4.0, 2, 4, ()),
            (9.0, 2, 4, ()),
        ],
    )
    def test_may_begin_within_the_first_epoch(self, first, reduction, epochs, expected):
        pruner = ParetoHalving(first_rung=first, reduction=reduction)
        assert pruner.rungs(epochs) == expected

    @given(st.integers(1, 2000), st.integers(2, 7))
    def test_are_all_powers_of_the_reduction_below_the_last_epoch(self, epochs, reduction):
        powers = [reduction**i for i in range(12)]
        expected = tuple(power for power in powers if power < epochs)
        assert ParetoHalving(reduction=reduction).rungs(epochs) == expected


LAST = {n: [float(n)] for n in range(8)}
FIRST = {n: [float(-n)] for n in range(8)}


class TestPatience:
    """Trial 7, which is the last at one rung and the first at another."""

    def decision(self, reached, patience):
        return stopped_at(ParetoHalving(patience=patience), 7, reached, [MINIMIZE])

    @pytest.mark.parametrize(
        ("reached", "patience", "stops"),
        [
            ((LAST,), 1, True),
            ((LAST,), 2, False),
            ((LAST, LAST), 2, True),
            ((FIRST, LAST), 2, False),
            ((LAST, FIRST), 1, False),
            ((LAST, FIRST, LAST), 2, False),
            ((FIRST, LAST, LAST), 2, True),
        ],
    )
    def test_so_many_rungs_in_a_row_must_speak_against_a_trial(self, reached, patience, stops):
        assert (self.decision(reached, patience) is not None) == stops


class TestMayReturn:
    @given(rungs(least=4), st.lists(st.lists(st.integers(0, 6).map(float), min_size=3, max_size=3)))
    def test_what_may_not_return_goes_on_whatever_comes(self, case, coming):
        rung, directions = case
        new = {100 + i: values[: len(directions)] for i, values in enumerate(coming)}
        later = {**rung, **new}
        for number in rung:
            if not PRUNER.may_return(number, rung, directions, len(later)):
                assert PRUNER.stops(number, later, directions) is not None

    def test_the_last_of_ten_returns_where_enough_may_come(self):
        rung = {n: [float(n)] for n in range(10)}
        halving = ParetoHalving(reduction=2)
        assert not may_return(halving, 9, [rung], [MINIMIZE], 17)
        assert may_return(halving, 9, [rung], [MINIMIZE], 18)

    def test_with_patience_one_of_the_last_rungs_is_enough(self):
        behind, ahead = {n: [float(n)] for n in range(10)}, {n: [float(-n)] for n in range(10)}
        assert may_return(ParetoHalving(patience=2), 9, [ahead, behind], [MINIMIZE], 10)
        assert not may_return(ParetoHalving(patience=1), 9, [ahead, behind], [MINIMIZE], 10)


class TestNoPruner:
    @given(rungs())
    def test_stops_nothing_and_has_no_rungs(self, case):
        pruner = make_pruner("none", reduction=3)
        assert stopped(*case, pruner=pruner) == set()
        assert pruner.rungs(8) == ()


def test_the_names_of_the_study_file_are_these():
    assert {name: type(make_pruner(name)) for name in PRUNERS} == {
        "pareto-halving": ParetoHalving,
        "accuracy-halving": AccuracyHalving,
        "none": NoPruner,
    }
