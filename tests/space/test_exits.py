"""Where the early exits of each pattern stand."""

import pytest

from space.exits import EXIT_PATTERNS
from space.spec import AdapterSpec


@pytest.mark.parametrize("name", EXIT_PATTERNS)
@pytest.mark.parametrize("depth", range(1, 25))
def test_every_pattern_gives_exits_that_a_structure_can_have(name, depth):
    exits = EXIT_PATTERNS[name](depth)
    assert AdapterSpec(depth=depth, exits=exits).exits == exits


@pytest.mark.parametrize(
    ("name", "depth", "exits"),
    [
        ("none", 6, ()),
        ("middle", 1, ()),
        ("middle", 2, (1,)),
        ("middle", 6, (3,)),
        ("middle", 12, (6,)),
        ("thirds", 1, ()),
        ("thirds", 2, (1,)),
        ("thirds", 3, (1, 2)),
        ("thirds", 6, (2, 4)),
        ("thirds", 12, (4, 8)),
        ("every", 1, ()),
        ("every", 2, (1,)),
        ("every", 5, (1, 2, 3, 4)),
    ],
)
def test_the_patterns(name, depth, exits):
    assert EXIT_PATTERNS[name](depth) == exits


@pytest.mark.parametrize("depth", range(2, 25))
def test_every_pattern_but_none_has_an_exit_where_one_fits(depth):
    assert {name for name in EXIT_PATTERNS if not EXIT_PATTERNS[name](depth)} == {"none"}
