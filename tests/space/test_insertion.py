"""Named patterns at every depth, and the way back from layers to parameters."""

import pytest

from space.insertion import PATTERNS, insertion_params


def test_every_pattern_stays_within_the_depth_and_is_not_empty():
    for depth in range(1, 25):
        for name, pattern in PATTERNS.items():
            layers = tuple(pattern(depth))
            assert layers and layers == tuple(sorted(set(layers))), name
            assert layers[0] >= 0 and layers[-1] < depth, name
    assert tuple(PATTERNS["lower_half"](5)) == (0, 1, 2)
    assert tuple(PATTERNS["every_second"](5)) == (0, 2, 4)
    assert tuple(PATTERNS["every_second"](6)) == (1, 3, 5)


@pytest.mark.parametrize(
    ("insertion", "layers", "expected"),
    [
        ("windows", (2, 3), {"insertion_length": 2, "insertion_offset": 1}),
        ("free", (0, 3), {f"insert_{i}": i in (0, 3) for i in range(5)}),
        (("all", "last", "every_second"), (0, 2, 4), {"insertion": "every_second"}),
        (("all", "last"), (0, 2, 4), {}),
    ],
)
def test_layers_lead_back_to_parameters(insertion, layers, expected):
    assert insertion_params(insertion, 5, layers) == expected
