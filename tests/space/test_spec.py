"""A structure as data: one spelling, every rule told, and in words."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import ROUTERS, SCALINGS, Adapter, TokenSkip
from space.kinds import KINDS
from space.spec import POOLINGS, AdapterSpec

LORA = Adapter(layer=0, role="query", kind="lora", rank=8, alpha=16.0)
BOTTLENECK = Adapter(layer=1, role="ffn", kind="bottleneck", rank=4)
SKIP = TokenSkip(layer=1, token_keep=0.5, rank=4)
PLACES = [(kind.name, role) for kind in KINDS.values() for role in kind.roles]


def adapter_with(**changes):
    return Adapter(
        **{"layer": 0, "role": "query", "kind": "lora", "rank": 8, "alpha": 16.0} | changes
    )


@st.composite
def adapters_at(draw, layer, role):
    kind = draw(st.sampled_from([kind for kind in KINDS.values() if role in kind.roles]))
    alpha = st.floats(0.5, 64) | st.integers(1, 64)
    experts = draw(st.sampled_from([1, 4])) if kind.sparse else 1
    return Adapter(
        layer=layer,
        role=role,
        kind=kind.name,
        rank=draw(st.integers(1, 64)) if kind.ranked else None,
        alpha=draw(alpha) if kind.scaled else None,
        scaling=draw(st.sampled_from(list(SCALINGS))) if kind.scaled else "alpha/rank",
        experts=experts,
        top_k=draw(st.integers(1, experts)),
        router=draw(st.sampled_from(ROUTERS)) if experts > 1 else None,
    )


@st.composite
def skips_below(draw, depth):
    layers = draw(st.lists(st.integers(0, depth - 1), unique=True, max_size=3))
    shares = st.sampled_from([0.25, 0.5, 0.75])
    return tuple(
        TokenSkip(layer=layer, token_keep=draw(shares), rank=draw(st.integers(1, 8)))
        for layer in layers
    )


@st.composite
def specs(draw):
    depth = draw(st.integers(1, 12))
    roles = sorted({role for _, role in PLACES})
    places = draw(
        st.lists(st.tuples(st.integers(0, depth - 1), st.sampled_from(roles)), unique=True)
    )
    adapters = tuple(draw(adapters_at(layer, role)) for layer, role in places)
    exits = draw(st.lists(st.integers(1, depth - 1), unique=True)) if depth > 1 else []
    return AdapterSpec(
        depth=depth,
        adapters=adapters,
        pooling=draw(st.sampled_from(POOLINGS)),
        skips=draw(skips_below(depth)),
        exits=tuple(exits),
    )


@settings(deadline=None)
@given(specs(), st.randoms())
def test_the_order_of_the_adapters_makes_no_difference(spec, generator: random.Random):
    parts = [list(spec.adapters), list(spec.skips), list(spec.exits)]
    for part in parts:
        generator.shuffle(part)
    adapters, skips, exits = map(tuple, parts)
    other = AdapterSpec(
        depth=spec.depth, adapters=adapters, pooling=spec.pooling, skips=skips, exits=exits
    )
    assert other == spec
    assert hash(other) == hash(spec)
    assert other.to_json() == spec.to_json()
    assert other.describe() == spec.describe()


@settings(deadline=None)
@given(specs())
def test_round_trip_through_data_and_json(spec):
    assert AdapterSpec.from_dict(spec.to_dict()) == spec
    assert AdapterSpec.from_json(spec.to_json()) == spec
    assert AdapterSpec.from_json(spec.to_json()).to_json() == spec.to_json()
    assert json.loads(spec.to_json()) == spec.to_dict()


@settings(deadline=None)
@given(specs(), specs())
def test_json_is_the_same_for_equal_structures_only(first, second):
    assert (first.to_json() == second.to_json()) == (first == second)


def test_json_gathers_adapters_that_are_alike():
    spec = AdapterSpec(
        depth=3,
        adapters=(
            Adapter(layer=2, role="query", kind="lora", rank=8, alpha=16.0),
            Adapter(layer=1, role="query", kind="lora", rank=16, alpha=16.0),
            LORA,
            BOTTLENECK,
        ),
    )
    assert spec.to_dict() == {
        "depth": 3,
        "pooling": "mean",
        "adapters": [
            {"role": "query", "kind": "lora", "rank": 8, "alpha": 16.0, "layers": [0, 2]},
            {"role": "query", "kind": "lora", "rank": 16, "alpha": 16.0, "layers": [1]},
            {"role": "ffn", "kind": "bottleneck", "rank": 4, "layers": [1]},
        ],
    }


def test_json_gathers_skips_that_are_alike():
    shares = {3: 0.5, 1: 0.5, 2: 0.25}
    skips = tuple(TokenSkip(layer=i, token_keep=k, rank=4) for i, k in shares.items())
    spec = AdapterSpec(depth=4, skips=skips, exits=(3, 1))
    assert spec.to_dict() == {
        "depth": 4,
        "pooling": "mean",
        "adapters": [],
        "skips": [
            {"token_keep": 0.25, "rank": 4, "layers": [2]},
            {"token_keep": 0.5, "rank": 4, "layers": [1, 3]},
        ],
        "exits": [1, 3],
    }


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({}, {"rank": 8, "alpha": 16.0}),
        (
            {"scaling": "alpha/sqrt(rank)"},
            {"rank": 8, "alpha": 16.0, "scaling": "alpha/sqrt(rank)"},
        ),
        (
            {"experts": 4, "top_k": 2, "router": "sequence"},
            {"rank": 8, "alpha": 16.0, "experts": 4, "top_k": 2, "router": "sequence"},
        ),
        ({"kind": "ia3", "role": "key", "rank": None, "alpha": None}, {}),
    ],
)
def test_what_is_as_usual_is_not_written(changes, written):
    own = adapter_with(**changes)
    plain = AdapterSpec(depth=1, adapters=(own,)).to_dict()
    entry = {"role": own.role, "kind": own.kind, "layers": [0]} | written
    assert plain == {"depth": 1, "pooling": "mean", "adapters": [entry]}


def test_a_text_without_experts_skips_and_exits_loads_as_before():
    text = (
        '{"adapters":[{"alpha":16.0,"kind":"lora","layers":[0,2],"rank":8,"role":"query"},'
        '{"kind":"bottleneck","layers":[1],"rank":4,"role":"ffn"}],"depth":3,"pooling":"cls"}'
    )
    adapters = (LORA, adapter_with(layer=2), BOTTLENECK)
    spec = AdapterSpec.from_json(text)
    assert spec == AdapterSpec(depth=3, adapters=adapters, pooling="cls")
    assert spec.to_json() == text


def test_equal_parts_spelled_apart_are_gathered():
    entry = {"role": "query", "kind": "lora", "rank": 8, "alpha": 16, "experts": 1, "top_k": 1}
    entries = [entry | {"layers": [1]}, entry | {"layers": [0], "scaling": "alpha/rank"}]
    spec = AdapterSpec.from_dict({"depth": 2, "pooling": "mean", "adapters": entries})
    assert spec == AdapterSpec(depth=2, adapters=(LORA, adapter_with(layer=1)))


def test_insertion_layers_and_the_frozen_prefix():
    spec = AdapterSpec(
        depth=6,
        adapters=tuple(
            Adapter(layer=layer, role=role, kind="lora", rank=2, alpha=4.0)
            for layer, role in ((4, "key"), (2, "query"), (4, "query"))
        ),
    )
    assert spec.insertion_layers == (2, 4)
    assert spec.first_insertion_layer == 2
    assert AdapterSpec(depth=6).insertion_layers == ()
    assert AdapterSpec(depth=6).first_insertion_layer == 6


def test_the_frozen_prefix_ends_below_a_block_that_tokens_pass_by():
    skips = (TokenSkip(layer=1, token_keep=0.5, rank=2),)
    spec = AdapterSpec(depth=6, adapters=(adapter_with(layer=3),), skips=skips)
    assert spec.first_insertion_layer == 1
    assert spec.insertion_layers == (3,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 0}, r"depth is at least 1, but got 0"),
        ({"depth": 1, "adapters": (BOTTLENECK,)}, r"below the depth 1, but got 1 \(blocks count"),
        ({"depth": 1, "adapters": (LORA, LORA)}, r"layer 0 has two at 'query'"),
        (
            {"depth": 1, "adapters": (LORA, adapter_with(rank=2))},
            r"One adapter serves a role of a block, but layer 0 has two at 'query'",
        ),
        ({"depth": 1, "pooling": "men"}, r"mean, .*, none, but got 'men'\. Did .* `mean`"),
        ({"depth": 1, "skips": (SKIP,)}, r"below the depth 1, but got 1 \(blocks count"),
        ({"depth": 2, "skips": (SKIP, SKIP)}, r"one token_keep, but layer 1 has two"),
        ({"depth": 2, "exits": (2,)}, r"behind 1 to 1 blocks where 2 run, but got 2"),
        ({"depth": 2, "exits": (0,)}, r"but got 0"),
        ({"depth": 3, "exits": (1, 1)}, r"one exit, but depth 1 has two"),
    ],
)
def test_a_structure_that_breaks_a_rule_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        AdapterSpec(**fields)


SKIPS = {"token_keep": 0.5, "rank": 4, "layers": [1]}


def data(**changes):
    plain = AdapterSpec(depth=2, adapters=(LORA, BOTTLENECK)).to_dict() | changes
    return {key: value for key, value in plain.items() if value is not None}


def data_with_adapter(**changes):
    entry = {"role": "query", "kind": "lora", "rank": 8, "alpha": 16.0, "layers": [0]} | changes
    return data(adapters=[{key: value for key, value in entry.items() if value is not None}])


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (data(depth=None), r"a structure has the key `depth`, but it is missing"),
        (data(pooling=None), r"the key `pooling`, but it is missing"),
        (data(adapters=None), r"the key `adapters`, but it is missing"),
        (data(dept=1), r"a structure has no key `dept`\. Did you mean `depth`"),
        (data(depth="2"), r"`depth` of a structure has the wrong type: '2'"),
        (data(depth=2.0), r"`depth` of a structure has the wrong type: 2\.0"),
        (data(depth=True), r"`depth` of a structure has the wrong type: True"),
        (data(pooling=1), r"`pooling` of a structure has the wrong type: 1"),
        (data(adapters={}), r"`adapters` of a structure has the wrong type"),
        (data(adapters=["lora"]), r"an adapter is a mapping, but got str"),
        (data_with_adapter(role=None), r"an adapter has the key `role`, but it is missing"),
        (data_with_adapter(layers=None), r"an adapter has the key `layers`, but it is missing"),
        (data_with_adapter(ranks=3), r"an adapter has no key `ranks`\. Did you mean `rank`"),
        (data_with_adapter(layer=3), r"an adapter has no key `layer`\. Did you mean `layers`"),
        (data_with_adapter(rank=8.0), r"`rank` of an adapter has the wrong type: 8\.0"),
        (data_with_adapter(rank=True), r"`rank` of an adapter has the wrong type: True"),
        (data_with_adapter(rank="8"), r"`rank` of an adapter has the wrong type: '8'"),
        (data_with_adapter(alpha="16"), r"`alpha` of an adapter has the wrong type: '16'"),
        (data_with_adapter(alpha=True), r"`alpha` of an adapter has the wrong type: True"),
        (data_with_adapter(kind=["lora"]), r"`kind` of an adapter has the wrong type"),
        (data_with_adapter(layers=0), r"`layers` of an adapter has the wrong type: 0"),
        (data_with_adapter(layers=["0"]), r"`layers` of an adapter holds integers, but got '0'"),
        (data_with_adapter(layers=[True]), r"holds integers, but got True"),
        (data_with_adapter(layers=[0, 0]), r"layer 0 has two at 'query'"),
        (data_with_adapter(layers=[2]), r"below the depth 2, but got 2"),
        (data_with_adapter(alpha=None), r"A lora adapter needs an alpha"),
        (data_with_adapter(experts="2"), r"`experts` of an adapter has the wrong type: '2'"),
        (data_with_adapter(experts=True), r"`experts` of an adapter has the wrong type: True"),
        (data_with_adapter(experts=2), r"router is one of token, sequence"),
        (data_with_adapter(top_k=2), r"got top_k 2 and experts 1"),
        (data_with_adapter(scaling=1), r"`scaling` of an adapter has the wrong type: 1"),
        (data_with_adapter(router=["token"]), r"`router` of an adapter has the wrong type"),
        (data_with_adapter(expert=2), r"an adapter has no key `expert`\. Did you mean `experts`"),
        (data(skip=[]), r"a structure has no key `skip`\. Did you mean `skips`"),
        (data(skips={}), r"`skips` of a structure has the wrong type"),
        (data(skips=[1]), r"a skip is a mapping, but got int"),
        (data(skips=[SKIPS | {"keep": 1}]), r"a skip has no key `keep`"),
        (data(skips=[SKIPS | {"rank": 2.0}]), r"`rank` of a skip has the wrong type: 2\.0"),
        (data(skips=[SKIPS | {"layers": [2]}]), r"below the depth 2, but got 2"),
        (data(skips=[SKIPS | {"layers": ["1"]}]), r"`layers` of a skip holds integers, but got"),
        (data(skips=[SKIPS | {"token_keep": 1.0}]), r"above 0 and below 1, but got 1\.0"),
        (data(exits=1), r"`exits` of a structure has the wrong type: 1"),
        (data(exits=[True]), r"`exits` holds integers, but got True"),
        (data(exits=[2]), r"behind 1 to 1 blocks where 2 run, but got 2"),
        (data(skips=[{"token_keep": 0.5, "layers": [1]}]), r"a skip has the key `rank`, but it"),
        (data(exits=["1"]), r"`exits` holds integers, but got '1'"),
        ([], r"a structure is a mapping, but got list"),
        (None, r"a structure is a mapping, but got NoneType"),
    ],
)
def test_data_that_is_no_structure_is_refused(plain, message):
    with pytest.raises(ValueError, match=message):
        AdapterSpec.from_dict(plain)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', '{"depth": 1}'])
def test_text_that_is_no_structure_is_refused(text):
    with pytest.raises(ValueError, match=r"a structure|Expecting"):
        AdapterSpec.from_json(text)


@pytest.mark.parametrize("layers", [[], [0]])
def test_an_entry_without_layers_adds_nothing(layers):
    spec = AdapterSpec.from_dict(data_with_adapter(layers=layers))
    assert spec.insertion_layers == tuple(layers)
