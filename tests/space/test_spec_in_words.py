"""A structure in words."""

from dataclasses import replace

import pytest

from space.adapter import Adapter, TokenSkip
from space.spec import AdapterSpec

LORA = Adapter(layer=0, role="query", kind="lora", rank=8, alpha=16.0)
SKIP = TokenSkip(layer=1, token_keep=0.5, rank=4)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((3,), "depth 6; layer 3: lora query r8, bottleneck ffn r4; cls pooling"),
        ((2, 3, 4), "depth 6; layers 2-4: lora query r8, bottleneck ffn r4; cls pooling"),
        ((1, 3, 5), "depth 6; layers 1,3,5: lora query r8, bottleneck ffn r4; cls pooling"),
        ((), "depth 6; head only; cls pooling"),
    ],
)
def test_describes_itself(layers, expected):
    adapters = [replace(LORA, layer=layer) for layer in layers]
    adapters += [Adapter(layer=i, role="ffn", kind="bottleneck", rank=4) for i in layers]
    spec = AdapterSpec(depth=6, adapters=tuple(adapters), pooling="cls")
    assert spec.describe() == expected


def test_describes_layers_that_differ():
    spec = AdapterSpec(
        depth=4, adapters=(LORA, replace(LORA, layer=1, rank=2), replace(LORA, layer=3, role="key"))
    )
    assert spec.describe() == (
        "depth 4; layer 0: lora query r8; layer 1: lora query r2; layer 3: lora key r8;"
        " mean pooling"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"adapters": (replace(LORA, experts=4, top_k=2, router="token"),)},
            "depth 4; layer 0: lora query r8 top 2 of 4 experts; mean pooling",
        ),
        (
            {"adapters": (replace(LORA, experts=4, top_k=1, router="sequence"),)},
            "depth 4; layer 0: lora query r8 top 1 of 4 experts a sequence; mean pooling",
        ),
        (
            {"adapters": (Adapter(layer=3, role="key", kind="ia3"),), "pooling": "none"},
            "depth 4; layer 3: ia3 key",
        ),
        (
            {"adapters": (LORA,), "skips": (SKIP, replace(SKIP, layer=2))},
            "depth 4; layer 0: lora query r8; 50% of tokens in layers 1-2 (r4); mean pooling",
        ),
        ({"skips": (SKIP,)}, "depth 4; 50% of tokens in layer 1 (r4); mean pooling"),
        (
            {"skips": (SKIP, replace(SKIP, layer=3, token_keep=0.75))},
            "depth 4; 50% of tokens in layer 1 (r4); 75% of tokens in layer 3 (r4); mean pooling",
        ),
        (
            {"exits": (3, 1), "pooling": "last"},
            "depth 4; head only; exits behind 1, 3; last pooling",
        ),
    ],
)
def test_describes_experts_skips_and_exits(fields, expected):
    assert AdapterSpec(depth=4, **fields).describe() == expected
