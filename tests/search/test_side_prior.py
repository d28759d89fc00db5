"""The first rung: what a side network and heads alone tell of the layers, and what comes of it."""

import signal
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search.driver import Interrupted, Observer, run_study
from search.side_prior import (
    LAYER_SIGNAL,
    SIDE_PROBE,
    LayerSignal,
    learned_weights,
    prior_params,
    shares,
)
from search.starting_points import STARTING_POINT
from search.store import open_study
from space.side import Side
from space.spec import AdapterSpec
from tests.search.test_starting_points import Answers
from tests.space.small import SPACE, spaces

QUIET = Observer(tick=lambda *_: None, ended=lambda *_: None)
SIGNAL = LayerSignal(
    metric="accuracy",
    direction="maximize",
    by_depth={3: 0.5, 4: 0.79, 5: 0.8, 6: 0.78},
    weights=(0.05, 0.05, 0.3, 0.3, 0.2, 0.1),
)


def structures(space, signal=SIGNAL):
    """Return the structures of the parameters, all of which must be asked for."""
    found = []
    for params in prior_params(space, signal):
        answers = Answers(params)
        found.append(space.sample(answers)[0])
        assert answers.params == {}
    return found


class TestSignal:
    def test_the_least_depth_that_suffices_is_found(self):
        assert SIGNAL.depth == 4
        worse = replace(SIGNAL, direction="minimize", by_depth={3: 9.0, 4: 5.0, 5: 3.1, 6: 3.0})
        assert worse.depth == 5
        assert replace(SIGNAL, by_depth={2: 0.5, 6: 0.5}).depth == 2

    @pytest.mark.parametrize(("depth", "blocks"), [(6, (2, 3)), (4, (2, 3)), (3, (2,)), (1, (0,))])
    def test_the_fewest_blocks_that_carry_most_are_found(self, depth, blocks):
        assert SIGNAL.blocks(depth) == blocks

    def test_shares_are_those_of_a_ladder_run_by_hand(self):
        gates = torch.tensor([0.5, -1.0, 2.0])
        state = torch.eye(4)[0]
        for place, gate in enumerate(gates.sigmoid()):
            state = state + gate * (torch.eye(4)[place + 1] - state)
        assert shares(gates) == pytest.approx(state.tolist())
        assert shares(None) == (1.0,)

    @given(st.lists(st.floats(-20, 20), max_size=30))
    def test_shares_are_one_together(self, gates):
        assert sum(shares(torch.tensor(gates))) == pytest.approx(1)

    def test_before_training_no_block_weighs_more(self):
        assert learned_weights(torch.zeros(3)) == pytest.approx((0.25,) * 4)
        assert learned_weights(None) == (1.0,)

    def test_what_training_let_in_weighs_more(self):
        weights = learned_weights(torch.tensor([0.0, 0.3, 0.0]))
        assert weights[0] == pytest.approx(weights[1])
        assert weights[1] < weights[3] < weights[2]


class TestStructures:
    def test_they_stand_where_the_signal_is(self):
        space = replace(SPACE, insertion="windows")
        low, high = structures(space)
        assert (low.depth, low.insertion_layers) == (4, (2, 3))
        assert (high.depth, high.insertion_layers) == (6, (2, 3))
        assert {adapter.kind for adapter in low.adapters} == {"lora"}

    def test_where_the_space_has_patterns_the_most_like_is_taken(self):
        low, high = structures(SPACE)
        assert low.insertion_layers == (2, 3)  # the upper half
        assert high.insertion_layers == (0, 1, 2, 3, 4, 5)

    def test_side_networks_are_among_them_where_the_space_holds_some(self):
        space = replace(SPACE, kinds=("side",), roles=(), side_layers=("all", "last"))
        assert [spec.side for spec in structures(space)] == [
            Side(width=64, boundaries=(1, 2, 3, 4)),
            Side(width=64, boundaries=(1, 2, 3, 4, 5, 6)),
        ]
        both = replace(SPACE, kinds=("side", "lora"))
        assert [spec.side is None for spec in structures(both)] == [True, False, True, False]

    @settings(deadline=None, max_examples=30)
    @given(spaces(), st.lists(st.floats(0.01, 1), min_size=6, max_size=6))
    def test_whatever_the_space_they_lie_in_it(self, space, weights):
        by_depth = {depth: 1 / depth for depth in space.depth}
        signal = replace(SIGNAL, by_depth=by_depth, weights=tuple(weights[: max(space.depth)]))
        structures(space, signal)


def trained(context_of, **changes):
    context = context_of(
        budget={"trials": 4, "epochs": 1}, baselines=["head_only"], sampler_prior="side", **changes
    )
    stored = open_study(context)
    run_study(context, stored, QUIET)
    return context, stored


class TestStudy:
    def test_the_search_begins_where_the_signal_is(self, context_of):
        context, stored = trained(context_of)
        trials = stored.get_trials(deepcopy=False)
        assert [t.user_attrs.get("baseline") for t in trials[:2]] == ["head_only", SIDE_PROBE]
        probe = AdapterSpec.from_json(trials[1].user_attrs["spec"])
        depth = max(context.space.depth)
        assert probe.side == Side(width=48, boundaries=tuple(range(1, depth + 1)))
        learned = stored.user_attrs[LAYER_SIGNAL]
        assert learned["metric"] == "accuracy"
        assert learned["by_depth"].keys() == {str(depth) for depth in context.space.depth}
        assert sum(learned["weights"]) == pytest.approx(1)
        begun = [t for t in trials if t.user_attrs.get(STARTING_POINT) == LAYER_SIGNAL]
        assert [t.number for t in begun] == [2, 3][: len(begun)]
        assert AdapterSpec.from_json(begun[0].user_attrs["spec"]).depth == learned["depth"]

    def test_resumed_it_is_not_learned_again(self, context_of, monkeypatch):
        context, stored = trained(context_of)

        def fail(*_):
            raise AssertionError("learned again")

        monkeypatch.setattr("search.proposals.begin_at_signal", fail)
        more = replace(
            context,
            study=context.study.model_copy(
                update={"budget": context.study.budget.model_copy(update={"trials": 5})}
            ),
        )
        run_study(more, stored, QUIET)

    def test_interrupted_while_it_is_learned_it_ends_soon(self, context_of, monkeypatch):
        def stop_at_first_step(context, spec, learning, *, report, tick):
            signal.raise_signal(signal.SIGINT)
            tick(1, 100)
            raise AssertionError("went on")

        monkeypatch.setattr("search.side_prior.train_structure", stop_at_first_step)
        with pytest.raises(Interrupted):
            trained(context_of)

    def test_where_the_side_network_fails_the_search_goes_on(self, context_of):
        _, stored = trained(context_of, constraints=[{"trainable_params": {"max": 2000}}])
        assert stored.user_attrs[LAYER_SIGNAL] is None
        begun = {t.user_attrs.get(STARTING_POINT) for t in stored.trials}
        assert LAYER_SIGNAL not in begun

    def test_by_default_there_is_none(self, context_of):
        assert context_of().study.sampler_prior == "none"
