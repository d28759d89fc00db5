"""The front, the knee, the hypervolume and `--select`, against brute force and Optuna's own."""

import itertools

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from optuna.study import StudyDirection

from search.front import (
    FrontPoint,
    feasible,
    hypervolume,
    knee,
    pareto_front,
)
from search.ranking import non_dominated_ranks
from search.selection import select
from space.errors import UserError
from tests.search.finished_study import finished_study, finished_trials, trial_of

MAX, MIN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
DIRECTIONS = [MAX, MIN]
NAMES = ["accuracy", "inference_gflops"]


def trials_of(*vectors):
    return [trial_of(list(vector), number=number) for number, vector in enumerate(vectors)]


def numbers(trials):
    return [trial.number for trial in trials]


@st.composite
def vectors_and_directions(draw, max_size=14):
    n_objectives = draw(st.integers(1, 4))
    vector = st.tuples(*[st.integers(0, 5).map(float)] * n_objectives)
    directions = draw(
        st.lists(st.sampled_from([MAX, MIN]), min_size=n_objectives, max_size=n_objectives)
    )
    return draw(st.lists(vector, min_size=1, max_size=max_size)), directions


def dominated(vector, others, directions):
    signs = [-1 if direction == MAX else 1 for direction in directions]
    own = [sign * value for sign, value in zip(signs, vector, strict=True)]
    for other in others:
        theirs = [sign * value for sign, value in zip(signs, other, strict=True)]
        if theirs != own and all(a <= b for a, b in zip(theirs, own, strict=True)):
            return True
    return False


@given(vectors_and_directions())
def test_ranks_peel_front_after_front(case):
    vectors, directions = case
    left = dict(enumerate(vectors))
    expected = {}
    for rank in itertools.count():
        front = [i for i, v in left.items() if not dominated(v, left.values(), directions)]
        expected |= dict.fromkeys(front, rank)
        left = {i: v for i, v in left.items() if i not in front}
        if not left:
            break
    assert non_dominated_ranks(vectors, directions) == [expected[i] for i in range(len(vectors))]


@given(vectors_and_directions())
def test_the_front_is_what_nothing_dominates_best_last_objective_first(case):
    vectors, directions = case
    front = pareto_front(trials_of(*vectors), directions)
    expected = {i for i, v in enumerate(vectors) if not dominated(v, vectors, directions)}
    assert {trial.number for trial in front} == expected
    costs = [trial.values[-1] for trial in front]
    assert costs == sorted(costs, reverse=directions[-1] == MAX)


def test_the_front_agrees_with_optuna(tmp_path):
    study = finished_study(tmp_path)
    front = pareto_front(study.trials, study.directions)
    assert sorted(numbers(front)) == sorted(numbers(study.best_trials))


def test_only_trained_and_feasible_trials_stand_on_the_front():
    trials = [
        trial_of([0.7, 1.0], number=0),
        trial_of([0.9, 0.5], number=1, same_as=0),
        trial_of([0.9, 0.5], number=2, end="pruned"),
        trial_of([0.9, 0.5], number=3, end="failed"),
        trial_of([0.9, 0.5], number=4),
    ]
    trials[4].user_attrs["end"] = "infeasible"
    assert numbers(pareto_front(trials, DIRECTIONS)) == [0]
    assert [feasible(trial) for trial in trials] == [True, True, False, False, False]
    assert pareto_front([], DIRECTIONS) == []


def test_the_knee_lies_farthest_below_the_line_through_the_extremes():
    front = trials_of((0.60, 0.1), (0.84, 0.3), (0.88, 0.9), (0.90, 1.0))
    assert knee(front, DIRECTIONS).number == 1


@given(vectors_and_directions())
def test_the_knee_gives_up_least_of_all_objectives(case):
    vectors, directions = case
    front = pareto_front(trials_of(*vectors), directions)
    signs = numpy.array([-1 if direction == MAX else 1 for direction in directions])
    losses = numpy.array([trial.values for trial in front]) * signs
    span = numpy.ptp(losses, axis=0)
    scaled = (losses - losses.min(0)) / numpy.where(span == 0, 1, span)
    sums = scaled.sum(1).round(9)
    best = [
        (own[-1], trial.number)
        for trial, own, total in zip(front, scaled, sums, strict=True)
        if total == sums.min()
    ]
    assert knee(front, directions).number == min(best)[1]


def test_the_knee_of_one_point_is_itself_and_a_tie_goes_to_the_cheaper_then_the_earlier():
    assert knee(trials_of((0.5, 2.0)), DIRECTIONS).number == 0
    assert knee(trials_of((0.9, 2.0), (0.5, 1.0)), DIRECTIONS).number == 1
    assert knee(list(reversed(trials_of((0.5, 1.0), (0.5, 1.0)))), DIRECTIONS).number == 0
    with pytest.raises(ValueError, match="at least one trial"):
        knee([], DIRECTIONS)


@settings(deadline=None)
@given(vectors_and_directions(max_size=8))
def test_the_hypervolume_is_optunas(case):
    vectors, directions = case
    signs = numpy.array([-1 if direction == MAX else 1 for direction in directions])
    reference = [-1.0 if direction == MAX else 6.0 for direction in directions]
    expected = compute_hypervolume(numpy.array(vectors) * signs, numpy.array(reference) * signs)
    assert hypervolume(vectors, reference, directions) == pytest.approx(expected)


def test_points_beyond_the_reference_add_no_volume():
    assert hypervolume([(0.5, 2.0), (0.9, 9.0)], (0.0, 4.0), DIRECTIONS) == pytest.approx(1.0)
    assert hypervolume([], (0.0, 4.0), DIRECTIONS) == 0.0


class TestSelect:
    trials = finished_trials()

    def choose(self, choice, trials=None):
        return select(self.trials if trials is None else trials, DIRECTIONS, NAMES, choice)

    def test_knee_and_the_best_in_an_objective(self):
        front = pareto_front(self.trials, DIRECTIONS)
        assert self.choose("knee") is knee(front, DIRECTIONS)
        assert self.choose("inference_gflops") is front[0]
        assert self.choose("accuracy").values[0] == max(trial.values[0] for trial in front)

    def test_accuracy_stands_for_the_first_objective_whatever_its_name(self):
        trials = trials_of((0.5, 1.0), (0.7, 2.0))
        assert select(trials, DIRECTIONS, ["macro_f1", "latency_ms"], "accuracy").number == 1

    def test_a_trial_by_its_number(self):
        assert self.choose("trial:1").number == 1

    def test_a_repeated_trial_gives_the_one_that_was_trained(self):
        trials = [trial_of([0.7, 1.0], number=0), trial_of([0.7, 1.0], number=1, same_as=0)]
        assert self.choose("trial:1", trials).number == 0

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ("trial:3", "Trial 3 cannot be selected: it ended as pruned (rank 5 of 9 at rung 1)."),
            ("trial:10", "ended as failed (the loss is not finite at epoch 1)"),
            ("trial:99", "no trial 99: its trials are 0 to 23"),
            ("trial:x", "takes the number of a trial, but got `trial:x`"),
            ("acuracy", "Did you mean `accuracy`?"),
            ("infrence_gflops<=0.2", "Did you mean `inference_gflops`"),
            ("accuracy<0.2", "a number, but got `accuracy<0.2`"),
            ("accuracy<=much", "a number, but got `accuracy<=much`"),
        ],
    )
    def test_a_wrong_choice_is_told_with_what_would_be_right(self, choice, message):
        with pytest.raises(UserError) as raised:
            self.choose(choice)
        assert message in str(raised.value)

    @pytest.mark.parametrize("limit", [0.25, 0.32, 0.4])
    def test_a_bound_gives_the_best_of_all_complete_trials_that_hold_it(self, limit):
        chosen = self.choose(f"inference_gflops <= {limit}")
        held = [t.values for t in self.trials if feasible(t) and t.values[1] <= limit]
        assert chosen.values[0] == max(values[0] for values in held)

    def test_several_bounds_name_metrics_and_percent(self):
        chosen = self.choose("accuracy>=70%, trainable_params<=40000")
        assert chosen.values[0] >= 0.7
        assert chosen.user_attrs["metrics"]["trainable_params"] <= 40_000

    def test_a_bound_reaches_trials_beside_the_front(self):
        trials = [
            trial_of([0.9, 1.0], number=0, metrics={"adapter_mib": 9.0}),
            trial_of([0.8, 2.0], number=1, metrics={"adapter_mib": 2.0}),
        ]
        assert self.choose("adapter_mib<=4", trials).number == 1

    def test_a_bound_that_nothing_holds_names_the_nearest(self):
        cheapest = min((t for t in self.trials if feasible(t)), key=lambda t: t.values[1])
        with pytest.raises(UserError) as raised:
            self.choose("inference_gflops<=0.01")
        nearest = f"trial {cheapest.number} with inference_gflops={cheapest.values[1]:.6g}"
        assert nearest in str(raised.value)

    def test_all_wrong_bounds_are_told_at_once(self):
        with pytest.raises(UserError) as raised:
            self.choose("accuracy=3,speed>=2")
        assert len(raised.value.problems) == 2

    def test_an_unfinished_study_says_so(self):
        with pytest.raises(UserError, match="no complete trial yet"):
            self.choose("knee", [trial_of(None, end="failed")])
        with pytest.raises(UserError, match="it has no trial yet"):
            self.choose("trial:0", [])


def test_a_front_point_is_plain_data():
    point = FrontPoint.of(finished_trials()[1])
    assert (point.number, point.baseline) == (1, "lora_all")
    assert point.structure.startswith("depth ")
