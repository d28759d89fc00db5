"""The default space, and what is told of a space that does not fit."""

from dataclasses import replace

import pytest

from space.default_space import default_space, problems_in
from space.insertion import PATTERNS
from space.roles import ROLES
from tests.space.small import HEAD, LANGUAGE, PER_TOKEN, SHAPE, SPACE

NONE = {"pooling": ("none",)}


@pytest.mark.parametrize("n_layers", [1, 2, 3, 6, 12, 24])
def test_the_default_space_fits_its_backbone(n_layers):
    shape = replace(SHAPE, n_layers=n_layers)
    space = default_space(shape, HEAD)
    assert problems_in(space, shape, HEAD) == []
    assert max(space.depth) == n_layers
    assert min(space.depth) == max(1, n_layers // 2)
    assert space.roles == shape.roles


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({}, []),
        (
            {"depth": (4, 7)},
            ["space.depth: 7 is not possible; the backbone has 6 blocks, so a depth is 1 to 6."],
        ),
        (
            {"depth": (0,)},
            ["space.depth: 0 is not possible; the backbone has 6 blocks, so a depth is 1 to 6."],
        ),
        (
            {"roles": ("quary", "ffn")},
            [
                f"space.roles: 'quary' is unknown; the names are {', '.join(ROLES)}."
                " Did you mean `query`?"
            ],
        ),
        (
            {"kinds": ("lorra",)},
            [
                "space.kinds: 'lorra' is unknown; the names are lora, bottleneck, parallel, ia3,"
                " prefix, side."
                " Did you mean `lora`?"
            ],
        ),
        (
            {"pooling": ("average", "cls")},
            [
                "space.pooling: 'average' is unknown; the names are mean, cls, last, attention,"
                " none."
            ],
        ),
        (
            {"insertion": ("uper_half",)},
            [
                f"space.insertion: 'uper_half' is unknown; the names are {', '.join(PATTERNS)}."
                " Did you mean `upper_half` or `lower_half`?"
            ],
        ),
        (
            {"kinds": ("lora", "bottleneck"), "roles": ("query",)},
            [
                "space.kinds: 'bottleneck' serves none of the roles given; it serves attention,"
                " ffn. Add one of these to space.roles or leave the kind out."
            ],
        ),
        (
            {"kinds": ("lora",), "roles": ("query", "ffn")},
            [
                "space.roles: 'ffn' is served by none of the kinds given; it is served by"
                " bottleneck, parallel. Add one of these to space.kinds or leave the role out."
            ],
        ),
    ],
)
def test_problems_are_told(changes, messages):
    assert problems_in(replace(SPACE, **changes), SHAPE, HEAD) == messages


def test_all_problems_are_told_at_once():
    space = replace(SPACE, depth=(9,), roles=("quary",), kinds=("lorra",), pooling=("men",))
    keys = [message.partition(":")[0] for message in problems_in(space, SHAPE, HEAD)]
    assert keys == ["space.roles", "space.kinds", "space.pooling", "space.depth"]


def test_a_role_that_the_backbone_lacks_is_told():
    shape = replace(SHAPE, role_shapes=SHAPE.role_shapes[:4])
    assert problems_in(replace(SPACE, roles=("query", "ffn")), shape, HEAD) == [
        "space.roles: the backbone has no 'ffn' in its blocks; it has query, key, value,"
        " attention_output, attention."
    ]


@pytest.mark.parametrize("insertion", ["windows", "free"])
def test_words_for_insertion_are_no_patterns(insertion):
    assert problems_in(replace(SPACE, insertion=insertion), SHAPE, HEAD) == []


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("takes_prefix", [False, True])
@pytest.mark.parametrize("gathers_tokens", [False, True])
@pytest.mark.parametrize("head", [HEAD, PER_TOKEN, LANGUAGE], ids=["row", "token", "language"])
def test_the_default_space_fits_every_backbone_and_head(causal, takes_prefix, gathers_tokens, head):
    shape = replace(SHAPE, causal=causal, takes_prefix=takes_prefix, gathers_tokens=gathers_tokens)
    space = default_space(shape, head)
    assert problems_in(space, shape, head) == []
    assert ("prefix" in space.kinds) == takes_prefix
    pooling = ("mean", "last") if causal else ("mean", "cls")
    assert space.pooling == (("none",) if head.per_token else pooling)


NOT_HERE = [
    ({}, {"takes_prefix": False}, HEAD, "space.kinds: 'prefix' is not possible"),
    ({"token_keep": (1.0, 0.5)}, {"gathers_tokens": False}, HEAD, "space.token_keep: 0.5 is"),
    ({"pooling": ("mean", "none")}, {}, HEAD, "space.pooling: 'none' does not fit"),
    ({"pooling": ("none", "mean")}, {}, PER_TOKEN, "space.pooling: 'mean' does not fit"),
    ({**NONE, "exits": ("middle",)}, {}, PER_TOKEN, "space.exits: early exits need"),
    ({**NONE, "exits": ("none", "every")}, {}, LANGUAGE, "space.exits: early exits need"),
    ({**NONE, "token_keep": (0.5,)}, {}, LANGUAGE, "space.token_keep: tokens are picked"),
    (
        {**NONE, "experts": (4,), "router": ("token", "sequence")},
        {},
        LANGUAGE,
        "space.router: 'sequence' looks at the whole row",
    ),
    ({"router": ("row",)}, {}, HEAD, "space.router: 'row' is unknown"),
    ({"exits": ("midle",)}, {}, HEAD, "space.exits: 'midle' is unknown"),
    ({"skip_layers": ("uper_half",)}, {}, HEAD, "space.skip_layers: 'uper_half' is unknown"),
    ({"scaling": "alpha"}, {}, HEAD, "space.scaling: 'alpha' is unknown"),
    ({"granularity": "block"}, {}, HEAD, "space.granularity: 'block' is unknown"),
    (
        {"kinds": ("ia3",), "roles": ("key",), "experts": (1, 4)},
        {},
        HEAD,
        "space.experts: none of the kinds given (ia3)",
    ),
    ({"experts": (2,), "top_k": (4,)}, {}, HEAD, "space.top_k: 4 is more than the 2 experts"),
]


@pytest.mark.parametrize(("changes", "shape", "head", "begins"), NOT_HERE)
def test_what_does_not_go_together_is_told(changes, shape, head, begins):
    problems = problems_in(replace(SPACE, **changes), replace(SHAPE, **shape), head)
    assert len(problems) == 1
    assert problems[0].startswith(begins)


@pytest.mark.parametrize(
    ("changes", "shape", "head"),
    [
        ({"kinds": ("lora", "parallel")}, {"takes_prefix": False}, HEAD),
        ({"token_keep": (1.0,)}, {"gathers_tokens": False}, HEAD),
        ({"token_keep": (1.0, 0.5)}, {}, HEAD),
        ({**NONE, "token_keep": (1.0, 0.5)}, {}, PER_TOKEN),
        ({"exits": ("none", "middle", "thirds", "every")}, {}, HEAD),
        ({"pooling": ("mean", "cls", "last", "attention")}, {}, HEAD),
        ({"router": ("token", "sequence"), "experts": (4,)}, {}, HEAD),
        ({**NONE, "router": ("token", "sequence"), "experts": (4,)}, {}, PER_TOKEN),
        ({**NONE, "router": ("token",), "experts": (4,)}, {}, LANGUAGE),
        ({**NONE, "router": ("token", "sequence")}, {}, LANGUAGE),
        ({"kinds": ("lora", "ia3"), "roles": ("key",), "experts": (1, 4)}, {}, HEAD),
        ({"kinds": ("ia3",), "roles": ("key",)}, {}, HEAD),
        ({"experts": (2, 4), "top_k": (4,)}, {}, HEAD),
        ({"experts": (2,), "top_k": (1, 4)}, {}, HEAD),
        ({"experts": (1,), "top_k": (4,)}, {}, HEAD),
        ({"granularity": "group", "scaling": "alpha/sqrt(rank)"}, {}, HEAD),
        ({"granularity": "layer", "skip_layers": ("every_second",)}, {}, HEAD),
    ],
)
def test_what_goes_together_is_not_told(changes, shape, head):
    assert problems_in(replace(SPACE, **changes), replace(SHAPE, **shape), head) == []


def test_all_that_does_not_go_together_is_told_at_once():
    space = replace(SPACE, token_keep=(0.5,), exits=("every",), experts=(4,), router=("sequence",))
    shape = replace(SHAPE, gathers_tokens=False, takes_prefix=False)
    keys = [message.partition(":")[0] for message in problems_in(space, shape, LANGUAGE)]
    assert keys == [
        *("space.kinds", "space.token_keep"),
        *("space.pooling", "space.exits", "space.token_keep", "space.router"),
    ]
