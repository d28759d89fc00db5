"""A structure as data: one spelling, every rule told, and in words."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import ROUTERS, SCALINGS, Adapter, TokenSkip, n_kept
from space.kinds import KINDS
from space.spec import POOLINGS, AdapterSpec

LORA = Adapter(layer=0, role="query", kind="lora", rank=8, alpha=16.0)
BOTTLENECK = Adapter(layer=1, role="ffn", kind="bottleneck", rank=4)
SKIP = TokenSkip(layer=1, token_keep=0.5, rank=4)
PLACES = [(kind.name, role) for kind in KINDS.values() for role in kind.roles]


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


def test_a_whole_alpha_is_the_same_as_a_number_with_a_point():
    whole = Adapter(layer=0, role="query", kind="lora", rank=8, alpha=16)
    assert whole == LORA
    structures = [AdapterSpec(depth=1, adapters=(adapter,)) for adapter in (whole, LORA)]
    assert structures[0].to_json() == structures[1].to_json()


def test_json_gathers_adapters_that_are_alike():
    spec = AdapterSpec(
        depth=3,
        adapters=(
            Adapter(layer=2, role="query", kind="lora", rank=8, alpha=16.0),
            Adapter(layer=1, role="query", kind="lora", rank=4, alpha=16.0),
            LORA,
            BOTTLENECK,
        ),
    )
    assert spec.to_dict() == {
        "depth": 3,
        "pooling": "mean",
        "adapters": [
            {"role": "query", "kind": "lora", "rank": 4, "alpha": 16.0, "layers": [1]},
            {"role": "query", "kind": "lora", "rank": 8, "alpha": 16.0, "layers": [0, 2]},
            {"role": "ffn", "kind": "bottleneck", "rank": 4, "layers": [1]},
        ],
    }


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


def test_scale_is_alpha_over_rank_or_its_root_or_one():
    assert LORA.scale == 2.0
    assert adapter_with(rank=4, scaling="alpha/sqrt(rank)").scale == 8.0
    assert BOTTLENECK.scale == 1.0


def test_experts_do_not_merge():
    assert LORA.mergeable
    assert not adapter_with(experts=2, router="token").mergeable
    assert not BOTTLENECK.mergeable


@pytest.mark.parametrize(
    ("token_keep", "n_tokens", "kept"),
    [(0.5, 7, 4), (0.5, 8, 4), (0.1, 30, 3), (0.7, 10, 7), (0.75, 1, 1), (0.01, 5, 1)],
)
def test_the_share_of_tokens_is_rounded_up(token_keep, n_tokens, kept):
    assert n_kept(token_keep, n_tokens) == kept
    assert TokenSkip(layer=0, token_keep=token_keep, rank=1).n_kept(n_tokens) == kept


def adapter_with(**changes):
    return Adapter(
        **{"layer": 0, "role": "query", "kind": "lora", "rank": 8, "alpha": 16.0} | changes
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "lorra"}, r"one of lora, .*, prefix, but got 'lorra'\. Did .* `lora`"),
        ({"kind": "zzz"}, r"but got 'zzz'\.$"),
        ({"role": "quary"}, r"lora adapter serves query, .*, but got 'quary'\. Did .* `query`"),
        ({"role": "ffn"}, r"A lora adapter serves query, .*, but got 'ffn'"),
        (
            {"kind": "bottleneck", "alpha": None},
            r"A bottleneck adapter serves attention, ffn, but got 'query'",
        ),
        ({"kind": "parallel"}, r"A parallel adapter serves attention, ffn, but got 'query'"),
        ({"rank": 0}, r"rank is at least 1, but got 0"),
        ({"rank": -3}, r"rank is at least 1, but got -3"),
        ({"layer": -1}, r"layer is at least 0, but got -1"),
        ({"alpha": None}, r"A lora adapter needs an alpha, but got None"),
        (
            {"kind": "bottleneck", "role": "ffn"},
            r"A bottleneck adapter has no alpha, but got 16\.0",
        ),
        (
            {"kind": "parallel", "role": "ffn", "alpha": None},
            r"A parallel adapter needs an alpha, but got None",
        ),
        ({"alpha": 0.0}, r"alpha is a number above 0, but got 0\.0"),
        ({"alpha": -1.0}, r"alpha is a number above 0, but got -1\.0"),
        ({"alpha": float("nan")}, r"alpha is a number above 0, but got nan"),
        ({"alpha": float("inf")}, r"alpha is a number above 0, but got inf"),
        ({"rank": None}, r"A lora adapter needs a rank, but got None"),
        ({"kind": "ia3", "role": "key", "alpha": None}, r"A ia3 adapter has no rank, but got 8"),
        ({"scaling": "alpha"}, r"scaling is one of alpha/rank, .*, but got 'alpha'"),
        ({"experts": 0}, r"experts at least 1, but got top_k 1 and experts 0"),
        ({"experts": 2, "top_k": 3, "router": "token"}, r"top_k is 1 to experts"),
        ({"experts": 2}, r"router is one of token, sequence, but got 'None'"),
        ({"router": "token"}, r"One expert needs no router, but got 'token'"),
        (
            {"kind": "prefix", "role": "attention", "alpha": None, "experts": 2},
            r"A prefix adapter has no experts, but got 2",
        ),
    ],
)
def test_an_adapter_that_breaks_a_rule_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        adapter_with(**changes)


@pytest.mark.parametrize(("kind", "role"), PLACES)
def test_every_place_of_the_table_is_allowed(kind, role):
    alpha = 8.0 if KINDS[kind].scaled else None
    rank = 8 if KINDS[kind].ranked else None
    assert adapter_with(kind=kind, role=role, alpha=alpha, rank=rank).kind == kind


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": -1}, r"layer is at least 0, but got -1"),
        ({"token_keep": 0.0}, r"above 0 and below 1, but got 0\.0"),
        ({"token_keep": 1.0}, r"above 0 and below 1, but got 1\.0"),
        ({"rank": 0}, r"rank is at least 1, but got 0"),
    ],
)
def test_a_skip_that_breaks_a_rule_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TokenSkip(**({"layer": 0, "token_keep": 0.5, "rank": 2} | changes))


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
    adapters = [adapter_with(layer=layer) for layer in layers]
    adapters += [Adapter(layer=i, role="ffn", kind="bottleneck", rank=4) for i in layers]
    spec = AdapterSpec(depth=6, adapters=tuple(adapters), pooling="cls")
    assert spec.describe() == expected


def test_describes_layers_that_differ():
    spec = AdapterSpec(
        depth=4, adapters=(LORA, adapter_with(layer=1, rank=2), adapter_with(layer=3, role="key"))
    )
    assert spec.describe() == (
        "depth 4; layer 0: lora query r8; layer 1: lora query r2; layer 3: lora key r8;"
        " mean pooling"
    )


def test_describes_experts_skips_and_exits():
    sparse = adapter_with(layer=2, experts=4, top_k=2, router="sequence")
    ia3 = Adapter(layer=2, role="key", kind="ia3")
    skips = tuple(TokenSkip(layer=layer, token_keep=0.5, rank=4) for layer in (1, 2))
    spec = AdapterSpec(depth=4, adapters=(sparse, ia3), skips=skips, exits=(2,), pooling="none")
    assert spec.describe() == (
        "depth 4; layer 2: lora query r8 top 2 of 4 experts a sequence, ia3 key;"
        " 50% of tokens in layers 1-2 (r4); exits behind 2"
    )


def test_a_structure_of_skips_alone_is_more_than_a_head():
    assert "head only" not in AdapterSpec(depth=2, skips=(SKIP,)).describe()
