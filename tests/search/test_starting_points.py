"""Starting points: structures of the space, whatever the space is."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from search.driver import Observer, run_study
from search.starting_points import STARTING_POINTS, misfits, starting_trials
from search.store import open_study
from space.cost import BackboneShape, HeadShape
from space.default_space import default_space
from space.replay import params_for
from space.roles import LINEAR_ROLES, SUBLAYER_ROLES
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.space.small import spaces

SHAPE = BackboneShape(
    n_layers=6,
    width=8,
    attention_width=8,
    kv_width=8,
    block_macs=384,
    role_shapes=tuple((role, (8, 8)) for role in LINEAR_ROLES if role != "ffn_gate"),
)
SPACE = default_space(SHAPE, HeadShape(n_outputs=2))
QUIET = Observer(tick=lambda *_: None, ended=lambda *_: None)


class Answers:
    """A trial whose parameters are given."""

    def __init__(self, params):
        self.params = dict(params)

    def suggest_int(self, name, low, high):
        return self.params.pop(name)

    def suggest_float(self, name, low, high, *, log=False):
        return self.params.pop(name)

    def suggest_categorical(self, name, choices):
        value = self.params.pop(name)
        assert value in choices
        return value


def structures(name, space, n_trials=40):
    """Return what a starting point tries, by title."""
    found = {}
    for title, params in starting_trials(name, space, n_trials).items():
        answers = Answers(params)
        found[title], _ = space.sample(answers)
        assert answers.params == {}
    return found


def structure(name, space):
    return next(iter(structures(name, space).values()), None)


@pytest.mark.parametrize(
    ("name", "insertion", "layers"),
    [
        ("top_layers", "windows", (4, 5)),
        ("top_layers", "free", (4, 5)),
        ("top_layers", ("all", "upper_third"), (4, 5)),
        ("top_layers", ("all", "upper_half"), (3, 4, 5)),
        ("top_layers", ("last",), (5,)),
        ("top_layers", ("all",), None),
        ("middle_layers", "windows", (2, 3)),
        ("middle_layers", "free", (2, 3)),
        ("middle_layers", ("all", "last"), None),
        ("ffn_only", "windows", (0, 1, 2, 3, 4, 5)),
        ("ffn_only", ("last", "all"), (0, 1, 2, 3, 4, 5)),
        ("ffn_only", ("last",), None),
    ],
)
def test_blocks_are_those_that_the_name_says_as_far_as_the_space_has_them(name, insertion, layers):
    spec = structure(name, replace(SPACE, depth=(2, 6), insertion=insertion))
    assert (spec.insertion_layers if spec else None) == layers


@pytest.mark.parametrize(
    ("depths", "insertion", "n_trials", "expected"),
    [
        ((1, 2, 4, 6), "windows", 40, {1: (0,), 2: (1,), 4: (2, 3), 6: (4, 5)}),
        ((4, 2), ("all", "last"), 40, {2: (1,), 4: (3,)}),
        ((2, 4), ("all",), 40, {2: (0, 1), 4: (0, 1, 2, 3)}),
        ((2, 4), ("lower_half",), 40, {}),
        ((1, 2, 3, 4, 5, 6), "windows", 12, {1: (0,), 3: (2,), 6: (4, 5)}),
        ((1, 2, 3, 4, 5, 6), "windows", 8, {1: (0,), 6: (4, 5)}),
        ((1, 2, 3, 4, 5, 6), "windows", 7, {6: (4, 5)}),
        ((1, 2, 3, 4, 5, 6), "windows", 1, {6: (4, 5)}),
    ],
)
def test_every_depth_goes_from_the_cheap_end_to_the_dear_one(depths, insertion, n_trials, expected):
    space = replace(SPACE, depth=depths, insertion=insertion)
    found = structures("every_depth", space, n_trials)
    assert {spec.depth: spec.insertion_layers for spec in found.values()} == expected
    assert list(found) == [f"every_depth: {depth}" for depth in expected]


def test_of_many_depths_some_are_tried():
    shape = replace(SHAPE, n_layers=24)
    space = replace(default_space(shape, HeadShape(n_outputs=2)), depth=tuple(range(1, 25)))
    found = structures("every_depth", space, 100)
    assert [spec.depth for spec in found.values()] == [1, 6, 10, 15, 19, 24]


@pytest.mark.parametrize(
    ("kinds", "name", "roles"),
    [
        (("lora", "bottleneck"), "ffn_only", {"ffn_up", "ffn_down"}),
        (("bottleneck", "lora"), "ffn_only", {"ffn_up", "ffn_down"}),
        (("bottleneck", "parallel"), "ffn_only", {"ffn"}),
        (("ia3",), "ffn_only", {"ffn_down"}),
        (("prefix",), "ffn_only", None),
        (("prefix",), "top_layers", {"attention"}),
        (("bottleneck",), "top_layers", set(SUBLAYER_ROLES)),
        (("side", "lora"), "top_layers", set(SHAPE.roles) - set(SUBLAYER_ROLES)),
    ],
)
def test_one_kind_serves_all_roles_that_it_can(kinds, name, roles):
    spec = structure(name, replace(SPACE, kinds=kinds))
    assert ({adapter.role for adapter in spec.adapters} if spec else None) == roles


def test_the_rank_is_in_the_middle():
    spec = structure("top_layers", replace(SPACE, rank=(2, 4, 64)))
    assert {adapter.rank for adapter in spec.adapters} == {4}


@settings(max_examples=50)
@given(spaces())
def test_every_one_lies_in_the_space_or_is_none(space):
    for name in STARTING_POINTS:
        found = structures(name, space)
        assert (misfits([name], space) == []) == (bool(found) or name == "every_depth")
        for spec in found.values():
            assert name == "every_depth" or spec.depth == max(space.depth)
            assert spec.depth in space.depth
            assert spec.adapters and not spec.skips and not spec.exits


def test_what_the_space_lacks_of_the_default_ones_is_left_out():
    space = replace(SPACE, depth=(4,), insertion=("lower_half",))
    assert structures("every_depth", space) == {}
    assert misfits(["every_depth"], space) == []
    (problem,) = misfits(["top_layers"], space)
    assert "'top_layers'" in problem


def test_they_come_after_the_baselines_and_are_ordinary_trials(context_of):
    context = context_of(
        baselines=["head_only"],
        starting_points=["top_layers", "ffn_only"],
        space={"depth": [2], "insertion": "windows"},
        budget={"trials": 4, "epochs": 1},
    )
    stored = open_study(context)
    run_study(context, stored, QUIET)
    trials = [t for t in stored.get_trials() if "same_as" not in t.user_attrs]
    names = [(t.user_attrs.get("baseline"), t.user_attrs.get("starting_point")) for t in trials]
    assert names == [("head_only", None), (None, "top_layers"), (None, "ffn_only"), (None, None)]
    for trial in trials[1:3]:
        spec = AdapterSpec.from_json(trial.user_attrs["spec"])
        learning = Learning(**trial.user_attrs["learning"])
        assert params_for(context.space, spec, learning) == trial.params
