"""The kind `side` in a study file."""

import pytest

from space.errors import UserError
from tests.search.test_study_file import HEAD, SHAPE


def space_of(load, **space):
    return load(space=space).search_space(SHAPE, HEAD)


def problems_of(load, **space):
    with pytest.raises(UserError) as caught:
        space_of(load, **space)
    return str(caught.value).splitlines()


def test_alone_it_needs_no_role(load):
    space = space_of(load, kinds=["side"])
    assert (space.kinds, space.roles) == (("side",), ())
    assert space.side_width == (32, 64, 96)
    assert space.side_layers == ("all", "every_second", "upper_half")


def test_among_others_the_roles_are_theirs(load):
    space = space_of(load, kinds=["side", "bottleneck"], side_width=[48], side_layers=["all"])
    assert space.roles == ("attention", "ffn")
    assert (space.side_width, space.side_layers) == ((48,), ("all",))


def test_it_is_no_kind_of_the_default_space(load):
    assert "side" not in space_of(load).kinds
    assert "side" not in space_of(load, roles=["query"]).kinds


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"kinds": ["sidee"]}, "Did you mean `side`?"),
        ({"kinds": ["side"], "side_layers": ["al"]}, "space.side_layers: 'al' is unknown;"),
        ({"side_width": [32]}, "space.side_width: goes with the kind 'side', which"),
        ({"kinds": ["lora"], "side_layers": ["all"]}, "space.side_layers: goes with the kind"),
        ({"kinds": ["side"], "rank": [4]}, "space.rank: goes with adapters in the blocks, and"),
        ({"kinds": ["side"], "roles": ["query"]}, "space.roles: goes with adapters in the blocks"),
        ({"kinds": ["side"], "exits": ["middle"]}, "space.exits: goes with adapters in the"),
        ({"kinds": ["side", "lora"], "roles": ["ffn"]}, "space.kinds: 'lora' serves none of the"),
        ({"kinds": ["side", "ia3"], "experts": [4]}, "space.experts: none of the kinds given"),
    ],
)
def test_what_does_not_go_together_is_told(load, space, message):
    assert any(message in problem for problem in problems_of(load, **space))


def test_all_keys_without_use_are_told_at_once(load):
    problems = problems_of(load, kinds=["side"], rank=[4], insertion=["all"], depth=[9])
    assert [line.strip("- ").split(":")[0] for line in problems] == [
        "space.depth",
        "space.insertion",
        "space.rank",
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"side_width": [0]}, "space.side_width[0]: must be at least 1, but got 0."),
        ({"side_width": 32}, "space.side_width: must be a list, but got 32."),
        ({"side_width": []}, "space.side_width: must not be empty, but got []."),
        ({"side_layers": "all"}, "space.side_layers: must be a list, but got 'all'."),
        ({"side_widths": [32]}, "space.side_widths: unknown key. Did you mean `side_width`?"),
    ],
)
def test_wrong_values_are_told(load, space, message):
    with pytest.raises(UserError) as caught:
        load(space={"kinds": ["side"], **space})
    assert message in str(caught.value)
