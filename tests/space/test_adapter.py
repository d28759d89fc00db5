"""The parts of a structure: every rule told, the scale, and how many tokens run."""

import math
from fractions import Fraction

import pytest

from space.adapter import ROUTERS, SCALINGS, Adapter, TokenSkip, n_kept
from space.kinds import KINDS

PLACES = [(kind.name, role) for kind in KINDS.values() for role in kind.roles]
SPARSE = [kind.name for kind in KINDS.values() if kind.sparse]
PLAIN = [kind.name for kind in KINDS.values() if not kind.sparse]


def adapter_with(**changes):
    return Adapter(
        **{"layer": 0, "role": "query", "kind": "lora", "rank": 8, "alpha": 16.0} | changes
    )


def of_kind(kind, **changes):
    """Return an adapter at the first role that the kind serves."""
    own = KINDS[kind]
    fields = {
        "role": own.roles[0],
        "kind": kind,
        "rank": 8 if own.ranked else None,
        "alpha": 16.0 if own.scaled else None,
    }
    return adapter_with(**(fields | changes))


@pytest.mark.parametrize(("kind", "role"), PLACES)
def test_every_place_of_the_table_is_allowed(kind, role):
    own = of_kind(kind, role=role)
    assert (own.kind, own.role) == (kind, role)
    assert (own.experts, own.top_k, own.router) == (1, 1, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "lorra"}, r"one of lora, .*, prefix, but got 'lorra'\. Did .* `lora`"),
        ({"kind": "zzz"}, r"but got 'zzz'\.$"),
        ({"role": "quary"}, r"lora adapter serves query, .*, but got 'quary'\. Did .* `query`"),
        ({"role": "ffn"}, r"A lora adapter serves query, .*, but got 'ffn'"),
        ({"rank": 0}, r"rank is at least 1, but got 0"),
        ({"rank": -3}, r"rank is at least 1, but got -3"),
        ({"layer": -1}, r"layer is at least 0, but got -1"),
        ({"alpha": 0.0}, r"alpha is a number above 0, but got 0\.0"),
        ({"alpha": -1.0}, r"alpha is a number above 0, but got -1\.0"),
        ({"alpha": float("nan")}, r"alpha is a number above 0, but got nan"),
        ({"alpha": float("inf")}, r"alpha is a number above 0, but got inf"),
        ({"scaling": "alpha"}, r"scaling is one of alpha/rank, .*, but got 'alpha'"),
        ({"scaling": "alpha/rnk"}, r"but got 'alpha/rnk'\. Did .* `alpha/rank`"),
        ({"experts": 0}, r"experts at least 1, but got top_k 1 and experts 0"),
        ({"experts": 2, "top_k": 0, "router": "token"}, r"top_k is 1 to .* got top_k 0"),
        ({"experts": 2, "top_k": 3, "router": "token"}, r"got top_k 3 and experts 2"),
        ({"top_k": 2}, r"got top_k 2 and experts 1"),
        ({"experts": 2}, r"router is one of token, sequence, but got 'None'"),
        ({"experts": 2, "router": "tokens"}, r"but got 'tokens'\. Did .* `token`"),
        ({"router": "token"}, r"One expert needs no router, but got 'token'"),
    ],
)
def test_an_adapter_that_breaks_a_rule_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        adapter_with(**changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ["query", "key", "ffn_up", "attention", "ffn"])
def test_a_kind_serves_its_own_roles_only(kind, role):
    if role in KINDS[kind].roles:
        assert of_kind(kind, role=role).role == role
        return
    with pytest.raises(ValueError, match=f"A {kind} adapter serves .*, but got '{role}'"):
        of_kind(kind, role=role)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_and_an_alpha_are_given_where_the_kind_has_them_and_only_there(kind):
    ranked, scaled = KINDS[kind].ranked, KINDS[kind].scaled
    own = of_kind(kind)
    assert (own.rank is not None, own.alpha is not None) == (ranked, scaled)
    rank = f"A {kind} adapter needs a rank, but got None"
    with pytest.raises(ValueError, match=rank if ranked else "has no rank, but got 8"):
        of_kind(kind, rank=None if ranked else 8)
    alpha = f"A {kind} adapter needs an alpha, but got None"
    with pytest.raises(ValueError, match=alpha if scaled else r"has no alpha, but got 4\.0"):
        of_kind(kind, alpha=None if scaled else 4.0)


@pytest.mark.parametrize("kind", PLAIN)
def test_kinds_without_experts_are_told(kind):
    with pytest.raises(ValueError, match=f"A {kind} adapter has no experts, but got 2"):
        of_kind(kind, experts=2, router="token")


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("router", ROUTERS)
def test_sparse_kinds_take_experts(kind, router):
    own = of_kind(kind, experts=4, top_k=4, router=router)
    assert (own.experts, own.top_k, own.router) == (4, 4, router)


@pytest.mark.parametrize(
    ("scaling", "rank", "alpha", "scale"),
    [
        ("alpha/rank", 8, 16.0, 2.0),
        ("alpha/rank", 32, 16, 0.5),
        ("alpha/sqrt(rank)", 16, 16.0, 4.0),
        ("alpha/sqrt(rank)", 4, 1.0, 0.5),
    ],
)
def test_the_scale_follows_its_rule(scaling, rank, alpha, scale):
    assert adapter_with(rank=rank, alpha=alpha, scaling=scaling).scale == scale


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS.values() if not kind.scaled])
def test_what_is_not_scaled_has_one_spelling_and_the_factor_one(kind):
    plain, other = of_kind(kind), of_kind(kind, scaling="alpha/sqrt(rank)")
    assert plain == other and hash(plain) == hash(other)
    assert plain.scale == 1.0


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_rule_of_the_scale_is_part_of_a_scaled_adapter(scaling):
    assert (adapter_with(scaling=scaling) == adapter_with()) == (scaling == "alpha/rank")


def test_a_whole_alpha_is_the_same_as_a_number_with_a_point():
    assert adapter_with(alpha=16) == adapter_with(alpha=16.0)
    assert isinstance(adapter_with(alpha=16).alpha, float)


@pytest.mark.parametrize("kind", KINDS)
def test_what_folds_into_the_frozen_weight(kind):
    assert of_kind(kind).mergeable == (kind in ("lora", "ia3"))


def test_experts_do_not_fold_into_the_frozen_weight():
    assert not adapter_with(experts=2, router="token").mergeable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": -1}, r"layer is at least 0, but got -1"),
        ({"token_keep": 0.0}, r"above 0 and below 1, but got 0\.0"),
        ({"token_keep": 1.0}, r"above 0 and below 1, but got 1\.0"),
        ({"token_keep": -0.5}, r"above 0 and below 1, but got -0\.5"),
        ({"token_keep": float("nan")}, r"above 0 and below 1, but got nan"),
        ({"rank": 0}, r"rank is at least 1, but got 0"),
    ],
)
def test_a_skip_that_breaks_a_rule_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TokenSkip(**({"layer": 0, "token_keep": 0.5, "rank": 2} | changes))


@pytest.mark.parametrize(
    ("token_keep", "n_tokens", "kept"),
    [
        (0.5, 1, 1),
        (0.5, 7, 4),
        (0.5, 8, 4),
        (0.1, 30, 3),
        (0.7, 10, 7),
        (0.07, 100, 7),  # a product of 7.000000000000001
        (0.3, 50, 15),
        (0.75, 5, 4),
        (0.01, 5, 1),
        (0.99, 5, 5),
    ],
)
def test_the_share_of_tokens_is_rounded_up(token_keep, n_tokens, kept):
    assert n_kept(token_keep, n_tokens) == kept
    assert TokenSkip(layer=0, token_keep=token_keep, rank=1).n_kept(n_tokens) == kept


@pytest.mark.parametrize("percent", range(1, 100, 6))
def test_no_rounding_of_the_product_keeps_a_token_too_many(percent):
    for n_tokens in range(1, 1025):
        exact = math.ceil(Fraction(percent, 100) * n_tokens)
        assert n_kept(percent / 100, n_tokens) == exact, n_tokens
