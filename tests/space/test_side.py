"""The kind `side` as data: a side network, its structure, its cost, its place in the space."""

import random
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import Adapter, TokenSkip
from space.default_space import keys_without_use, problems_in
from space.insertion import PATTERNS
from space.replay import params_for
from space.search_space import Learning
from space.side import SPACE_KINDS, Side
from space.size import n_structures
from space.spec import AdapterSpec
from tests.space.costing import TOKENS, cost_of
from tests.space.small import HEAD, PER_TOKEN, SHAPE, SPACE, RandomTrial, sample, with_roles
from tests.space.test_size import SMALL, all_structures

LADDER = Side(width=8, boundaries=(2, 4))
BESIDE = AdapterSpec(depth=4, side=LADDER)
ALONE = replace(SPACE, kinds=("side",), roles=())
AMONG_OTHERS = replace(SPACE, kinds=("side", "lora", "bottleneck"))
LORA = Adapter(layer=0, role="query", kind="lora", rank=8, alpha=16.0)


class TestSide:
    def test_it_has_one_spelling(self):
        assert Side(width=8, boundaries=(4, 2)) == LADDER

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"width": 0}, "at least 1, but got 0"),
            ({"boundaries": ()}, "at least one boundary, but got none"),
            ({"boundaries": (0, 1)}, "1 block or more, but got a boundary of 0"),
            ({"boundaries": (3, 2, 3)}, r"once, but got \[2, 3, 3\]"),
        ],
    )
    def test_what_is_wrong_is_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            replace(LADDER, **changes)


class TestStructure:
    def test_all_blocks_are_the_frozen_prefix(self):
        assert BESIDE.first_insertion_layer == 4
        assert BESIDE.insertion_layers == ()
        assert not BESIDE.head_only
        assert AdapterSpec(depth=4).head_only

    def test_it_reads_its_boundaries_and_what_the_head_reads(self):
        assert BESIDE.boundaries == (2, 4)
        assert replace(BESIDE, depth=6).boundaries == (2, 4, 6)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"adapters": (LORA,)}, "has no adapters: all its blocks are frozen"),
            ({"skips": (TokenSkip(layer=1, token_keep=0.5, rank=2),)}, "has no skips"),
            ({"exits": (1, 2)}, "has no exits.*but got 2"),
            ({"depth": 3}, "behind 1 to 3 blocks where 3 run, but got a boundary of 4"),
        ],
    )
    def test_what_does_not_go_with_it_is_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            replace(BESIDE, **changes)

    def test_its_json_leads_back(self):
        assert BESIDE.to_dict()["side"] == {"width": 8, "boundaries": [2, 4]}
        assert AdapterSpec.from_json(BESIDE.to_json()) == BESIDE
        assert "side" not in AdapterSpec(depth=4).to_dict()

    @pytest.mark.parametrize(
        ("side", "message"),
        [
            ([8], "`side` of a structure has the wrong type"),
            ({"width": 8}, "a side network has the key `boundaries`, but it is missing"),
            ({"width": 8, "boundaries": [2], "depth": 1}, "a side network has no key `depth`"),
            ({"width": 8.0, "boundaries": [2]}, "`width` of a side network has the wrong type"),
            ({"width": 8, "boundaries": [True]}, "`boundaries` holds integers, but got True"),
            ({"width": 8, "boundaries": ["2"]}, "`boundaries` holds integers, but got '2'"),
        ],
    )
    def test_strange_json_is_refused(self, side, message):
        with pytest.raises(ValueError, match=message):
            AdapterSpec.from_dict({"depth": 4, "pooling": "mean", "adapters": [], "side": side})

    @pytest.mark.parametrize(
        ("boundaries", "words"), [((1, 2, 3), "1-3"), ((2, 4), "2,4"), ((4,), "4")]
    )
    def test_it_describes_itself(self, boundaries, words):
        spec = replace(BESIDE, side=Side(width=48, boundaries=boundaries))
        assert spec.describe() == (
            f"depth 4; side network of width 48, reading behind {words}; mean pooling"
        )


class TestCost:
    """The tokens' mean is 5, the backbone's width 10; the side network's 8, and its ffn's 32."""

    def test_parameters_are_counted_by_hand(self):
        down, ffn, norm = 10 * 8 + 8, 8 * 32 + 32 + 32 * 8 + 8, 2 * 8
        side = 2 * (down + norm + ffn) + 1 + norm + 8 * 10
        assert cost_of().trainable_params(BESIDE) == side + 10 * 4 + 4
        one = replace(BESIDE, side=Side(width=8, boundaries=(4,)))
        assert cost_of().trainable_params(BESIDE) - cost_of().trainable_params(one) == (
            down + norm + ffn + 1
        )

    def test_flops_are_counted_by_hand(self):
        own = 2 * (10 * 8 + 2 * 8 * 32) + 8 * 10
        bare = cost_of().inference_gflops(AdapterSpec(depth=4))
        expected = bare + 2 * own * TOKENS.mean / 1e9
        assert cost_of().inference_gflops(BESIDE) == pytest.approx(expected)
        assert cost_of().gflops_behind(BESIDE) == [pytest.approx(expected)]

    def test_no_backward_pass_runs_through_the_blocks(self):
        downs, others = 2 * 10 * 8, 2 * 2 * 8 * 32 + 8 * 10
        bare = cost_of().training_gflops(AdapterSpec(depth=4))
        expected = bare + 2 * (2 * downs + 3 * others) * TOKENS.mean / 1e9
        assert cost_of().training_gflops(BESIDE) == pytest.approx(expected)

    def test_beside_a_frozen_language_head_the_gradient_passes_the_head_alone(self):
        cost = cost_of(per_token=True, trained=False)
        head = 10 * 4 * TOKENS.mean
        frozen = 4 * 5560
        downs, others = 2 * 10 * 8, 2 * 2 * 8 * 32 + 8 * 10
        side = (2 * downs + 3 * others) * TOKENS.mean
        spec = replace(BESIDE, pooling="none")
        assert cost.training_gflops(spec) == pytest.approx(2 * (frozen + 2 * head + side) / 1e9)


class TestSpace:
    def test_alone_every_structure_is_one(self):
        for seed in range(20):
            spec, learning, trial = sample(ALONE, seed)
            assert spec.side is not None
            assert set(trial.params) == {
                "depth",
                "pooling",
                "side_layers",
                "side_width",
                "learning_rate",
            }
            assert learning.learning_rate == trial.params["learning_rate"]

    def test_among_others_it_is_asked_for_first_and_then_no_role_is(self):
        spec, _, trial = sample(AMONG_OTHERS, side=True)
        assert next(iter(trial.params)) == "side"
        assert spec.side is not None
        assert not [name for name in trial.params if name.endswith(("_kind", "_rank"))]

    def test_where_it_is_none_its_keys_are_not_asked_for(self):
        spec, _, trial = sample(AMONG_OTHERS, side=False, **with_roles(query="lora"))
        assert spec.side is None and spec.adapters
        assert not {"side_width", "side_layers"} & set(trial.params)

    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("depth", [1, 2, 5, 6])
    def test_patterns_choose_whose_outputs_it_reads(self, pattern, depth):
        space = replace(ALONE, depth=(depth,), side_layers=(pattern,), side_width=(16,))
        spec, _, _ = sample(space)
        blocks = tuple(PATTERNS[pattern](depth))
        assert spec.side == Side(width=16, boundaries=tuple(block + 1 for block in blocks))

    @settings(deadline=None)
    @given(st.sampled_from([ALONE, AMONG_OTHERS]), st.integers(0, 2**32))
    def test_params_for_leads_back(self, space, seed):
        spec, learning, _ = sample(space, seed)
        params = params_for(space, spec, learning)
        again = RandomTrial(random.Random(seed + 1), params)
        assert space.sample(again) == (spec, learning)
        assert again.params == params

    @pytest.mark.parametrize(
        ("space", "spec"),
        [
            (SPACE, BESIDE),
            (replace(ALONE, side_width=(16,)), BESIDE),
            (replace(ALONE, side_layers=("all",), side_width=(8,)), BESIDE),
            (ALONE, AdapterSpec(depth=4)),
            (ALONE, AdapterSpec(depth=4, adapters=(LORA,))),
        ],
    )
    def test_what_lies_outside_has_no_parameters(self, space, spec):
        rate = None if spec.head_only else 1e-3
        learning = Learning(learning_rate=rate, head_learning_rate=space.head_learning_rate)
        assert params_for(space, spec, learning) is None

    def test_optuna_replays_it(self):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for seed in range(20):
            spec, learning, _ = sample(AMONG_OTHERS, seed)
            study.enqueue_trial(params_for(AMONG_OTHERS, spec, learning))
            trial = study.ask()
            assert AMONG_OTHERS.sample(trial) == (spec, learning)
            study.tell(trial, 0.0)

    @pytest.mark.parametrize(
        "kinds", [("side",), ("side", "lora"), ("bottleneck", "side")], ids=str
    )
    def test_every_structure_is_counted_once(self, kinds):
        space = replace(
            SMALL,
            kinds=kinds,
            side_width=(4, 8),
            side_layers=("all", "every_second", "upper_half", "last"),
            exits=("none", "middle"),
        )
        assert n_structures(space) == len(all_structures(space))


class TestProblems:
    @pytest.mark.parametrize("head", [HEAD, PER_TOKEN])
    @pytest.mark.parametrize("space", [ALONE, AMONG_OTHERS])
    def test_a_space_with_side_networks_is_right(self, space, head):
        pooling = ("none",) if head.per_token else space.pooling
        space = replace(space, pooling=pooling)
        if len(space.kinds) > 1:
            space = replace(
                space, roles=("query", "key", "value", "attention_output", "attention", "ffn")
            )
        assert problems_in(space, SHAPE, head) == []

    def test_an_unknown_pattern_is_told(self):
        assert problems_in(replace(ALONE, side_layers=("al",)), SHAPE, HEAD) == [
            f"space.side_layers: 'al' is unknown; the names are {', '.join(PATTERNS)}."
            " Did you mean `all`?"
        ]

    def test_a_slip_in_the_kind_is_told(self):
        (problem,) = problems_in(replace(ALONE, kinds=("sidee",)), SHAPE, HEAD)
        assert problem.startswith("space.kinds: 'sidee' is unknown;")
        assert problem.endswith("Did you mean `side`?")
        assert keys_without_use({"side_width"}, ("sidee",)) == []

    def test_its_keys_want_its_kind(self):
        problems = keys_without_use({"depth", "side_width", "side_layers"}, ("lora",))
        assert [problem.split(":")[0] for problem in problems] == [
            "space.side_width",
            "space.side_layers",
        ]
        assert keys_without_use({"side_width", "side_layers"}, ("lora", "side")) == []

    def test_alone_it_has_no_use_for_what_stands_in_blocks(self):
        given = {"depth", "pooling", "side_width", "rank", "exits", "insertion"}
        problems = keys_without_use(given, ("side",))
        assert [problem.split(":")[0] for problem in problems] == [
            "space.insertion",
            "space.rank",
            "space.exits",
        ]
        assert "holds 'side' alone" in problems[0]
        assert keys_without_use(given, SPACE_KINDS) == []
