"""A structure on another backbone: where its parts stand, what is dropped, what goes along."""

from dataclasses import replace

import pytest
import torch

from space.adapter import Adapter, TokenSkip
from space.side import Side
from space.spec import AdapterSpec
from tests.trainers.tiny import adapter, fill_randomly, random_batch
from trainers.data import TargetScale
from trainers.migration import in_scale, map_structure, moved_weights, scaled
from trainers.model import build
from trainers.outline import FAMILY, FEWER, SAME, SHAPE, Outline, relation


@pytest.fixture
def bert(tiny_backbones):
    return tiny_backbones["bert"]


def outline(backbone, **changes):
    return replace(Outline.of(backbone), **changes)


def mapped(spec, backbone, n_before, n_now, **changes):
    """A structure of a backbone of some blocks on one of others, otherwise alike."""
    return map_structure(
        spec,
        outline(backbone, n_layers=n_before),
        replace(backbone.shape, n_layers=n_now, **changes),
    )


def places(spec):
    return [(a.layer, a.role) for a in spec.adapters]


def loras(*layers, role="value", rank=4):
    return tuple(adapter(layer, role, "lora", rank) for layer in layers)


class TestOutline:
    def test_it_is_kept_as_plain_data(self, tiny_any):
        own = Outline.of(tiny_any)
        assert Outline.from_dict(own.to_dict()) == own
        assert own.n_layers == tiny_any.shape.n_layers and own.width == tiny_any.shape.width
        assert own.sizes == dict(tiny_any.shape.role_shapes)

    def test_a_fused_role_says_which_part_it_is(self, tiny_backbones):
        roles = Outline.of(tiny_backbones["gpt2"]).roles
        assert roles["value"].place == "attn.c_attn (part 3 of 3)"
        assert roles["ffn_up"].place == "mlp.c_fc"

    @pytest.mark.parametrize(
        "change",
        [
            {"n_layers": 0},
            {"n_layers": True},
            {"width": "384"},
            {"family": 3},
            {"roles": []},
            {"roles": {"query": {"d_in": 1}}},
            {"roles": {"query": {"d_in": -1, "d_out": 2, "place": "q"}}},
        ],
    )
    def test_what_is_no_outline_is_refused(self, bert, change):
        with pytest.raises(ValueError, match="no outline of a backbone"):
            Outline.from_dict(Outline.of(bert).to_dict() | change)

    @pytest.mark.parametrize("raw", [None, 3, "text", [], {}])
    def test_what_is_no_mapping_is_refused(self, raw):
        with pytest.raises(ValueError, match="no outline"):
            Outline.from_dict(raw)

    def test_backbones_are_related(self, bert, tiny_backbones):
        own = outline(bert)
        assert relation(own, own) == SAME
        assert relation(own, replace(own, n_layers=own.n_layers - 1)) == FEWER
        assert relation(own, replace(own, n_layers=own.n_layers + 1)) == SHAPE
        assert relation(own, replace(own, width=48)) == SHAPE
        assert relation(own, Outline.of(tiny_backbones["electra"])) == FAMILY


class TestMapping:
    @pytest.mark.parametrize(
        ("number", "former", "now", "found"),
        [
            *((0, 6, 4, 0), (1, 6, 4, 1), (2, 6, 4, 1), (3, 6, 4, 2), (5, 6, 4, 3), (6, 6, 4, 4)),
            *((1, 6, 12, 2), (5, 6, 12, 10), (1, 2, 1, 1), (1, 4, 2, 1), (3, 4, 2, 2)),
        ],
    )
    def test_a_block_becomes_the_nearest_by_relative_depth(self, number, former, now, found):
        assert scaled(number, former, now) == found
        assert abs(found - number / former * now) <= 0.5

    def test_on_as_many_blocks_nothing_changes(self, bert):
        spec = AdapterSpec(
            depth=4,
            adapters=(*loras(1, 3), adapter(2, "ffn", "parallel")),
            skips=(TokenSkip(layer=3, token_keep=0.5, rank=2),),
            exits=(1, 2),
            pooling="attention",
        )
        found = mapped(spec, bert, 4, 4)
        assert found.spec == spec and found.dropped == () and found.changed == ()
        assert all(before == now for before, now in found.moves.items())
        assert set(found.moves) == {
            *("head", "skips.3", "exits.1", "exits.2"),
            *("adapters.1.value", "adapters.3.value", "adapters.2.ffn"),
        }

    def test_a_deeper_backbone_spreads_it(self, bert):
        found = mapped(AdapterSpec(depth=3, adapters=loras(0, 2, rank=8), exits=(1,)), bert, 4, 8)
        assert found.spec.depth == 6 and found.spec.exits == (2,)
        assert places(found.spec) == [(0, "value"), (4, "value")]
        assert {a.rank for a in found.spec.adapters} == {8} and found.dropped == ()
        assert found.changed == (
            "depth: 6 of 8 blocks in place of 3 of 4",
            "insertion layers: 0, 4 in place of 0, 2",
        )

    def test_what_comes_to_stand_in_one_place_is_told(self, bert):
        found = mapped(AdapterSpec(depth=6, adapters=loras(0, 1, 2, 3, 4, 5)), bert, 6, 4)
        assert found.spec.depth == 4
        assert places(found.spec) == [(layer, "value") for layer in range(4)]
        assert found.moves == {
            "head": "head",
            "adapters.0.value": "adapters.0.value",
            "adapters.2.value": "adapters.1.value",
            "adapters.3.value": "adapters.2.value",
            "adapters.5.value": "adapters.3.value",
        }
        assert found.dropped == (
            "value: what was in layers 1, 4, as the adapter above it now stands in the same block",
        )

    def test_nothing_stands_above_the_new_depth(self, bert):
        spec = AdapterSpec(depth=5, adapters=loras(4), exits=(3, 4))
        found = mapped(spec, bert, 6, 4)
        assert found.spec.depth == 3 and places(found.spec) == [(2, "value")]
        assert found.spec.exits == (2,)
        assert found.dropped == ("1 of 2 exits: there is no place for each",)

    def test_one_block_is_left_at_least(self, bert):
        assert mapped(AdapterSpec(depth=1, adapters=loras(0)), bert, 12, 2).spec.depth == 1

    def test_skips_and_the_side_network_are_scaled(self, bert):
        skips = tuple(TokenSkip(layer=layer, token_keep=0.5, rank=2) for layer in (2, 3))
        found = mapped(AdapterSpec(depth=4, skips=skips), bert, 4, 2)
        assert [s.layer for s in found.spec.skips] == [1]
        assert found.moves["skips.3"] == "skips.1" and len(found.dropped) == 1
        side = Side(width=8, boundaries=(1, 3, 6))
        found = mapped(AdapterSpec(depth=6, side=side), bert, 6, 12)
        assert found.spec.side == Side(width=8, boundaries=(2, 6, 12)) and found.spec.depth == 12

    def test_a_structure_deeper_than_its_backbone_is_refused(self, bert):
        with pytest.raises(ValueError, match="runs 5 blocks, but its backbone had 4"):
            mapped(AdapterSpec(depth=5), bert, 4, 6)


class TestFamilies:
    def test_a_role_that_is_not_there_is_dropped_and_named(self, tiny_backbones):
        llama, bert = tiny_backbones["llama"], tiny_backbones["bert"]
        spec = AdapterSpec(
            depth=2, adapters=(*loras(0, 1, role="ffn_gate"), *loras(1, role="ffn_up"))
        )
        found = map_structure(spec, Outline.of(llama), bert.shape)
        assert places(found.spec) == [(1, "ffn_up")]
        assert found.dropped == (
            "lora at ffn_gate: the new backbone has no ffn_gate (was in layers 0, 1)",
        )
        assert found.changed[0] == "ffn_up: has the activation itself, as there is no gate here"
        build(bert, found.spec, 2, seed=0)

    def test_a_gate_in_the_new_family_is_told(self, tiny_backbones):
        spec = AdapterSpec(depth=2, adapters=loras(0, role="ffn_up"), pooling="cls")
        llama = tiny_backbones["llama"]
        found = map_structure(spec, Outline.of(tiny_backbones["bert"]), llama.shape)
        assert places(found.spec) == [(0, "ffn_up")] and found.dropped == ()
        assert found.spec.pooling == "last"
        told = "\n".join(found.changed)
        assert "multiplied with that of ffn_gate" in told and "the last token in place" in told
        build(llama, found.spec, 2, seed=0)

    def test_what_a_family_cannot_do_is_dropped(self, tiny_backbones):
        spec = AdapterSpec(
            depth=2,
            adapters=(Adapter(layer=0, role="attention", kind="prefix", rank=3), *loras(1)),
            skips=(TokenSkip(layer=1, token_keep=0.5, rank=2),),
        )
        deberta = tiny_backbones["deberta-v2"]
        found = map_structure(spec, Outline.of(tiny_backbones["bert"]), deberta.shape)
        assert places(found.spec) == [(1, "value")] and found.spec.skips == ()
        assert "takes no prefix (was in layer 0)" in found.dropped[0]
        assert "need all tokens" in found.dropped[1]
        build(deberta, found.spec, 2, seed=0)

    def test_if_nothing_is_left_it_is_a_head(self, tiny_backbones):
        spec = AdapterSpec(depth=1, adapters=loras(0, role="ffn_gate"))
        found = map_structure(
            spec, Outline.of(tiny_backbones["llama"]), tiny_backbones["bert"].shape
        )
        assert found.spec.head_only


class TestWeights:
    def test_on_the_same_shape_all_go_along(self, bert):
        spec = AdapterSpec(
            depth=3,
            adapters=(*loras(0, 2), adapter(1, "ffn", "bottleneck")),
            exits=(1,),
            pooling="attention",
        )
        old = fill_randomly(build(bert, spec, 3, seed=0)).trained_state()
        fresh = build(bert, spec, 3, seed=1)
        moves = mapped(spec, bert, 4, 4).moves
        state, parts = moved_weights(fresh.trained_state(), old, moves)
        assert set(parts) == set(moves)
        fresh.load_trained_state(state)
        assert all(torch.equal(old[name], own) for name, own in fresh.trained_state().items())

    def test_a_part_that_does_not_fit_is_new_as_a_whole(self, bert):
        spec = AdapterSpec(depth=2, adapters=loras(0, 1))
        old = fill_randomly(build(bert, spec, 3, seed=0)).trained_state()
        other = AdapterSpec(depth=2, adapters=(*loras(0, rank=2), *loras(1)))
        fresh = build(bert, other, 3, seed=1).trained_state()
        state, parts = moved_weights(
            fresh, old, {f"adapters.{i}.value": f"adapters.{i}.value" for i in (0, 1)}
        )
        assert parts == ("adapters.1.value",)
        for name, tensor in state.items():
            expected = old if name.startswith("adapters.1.") else fresh
            assert torch.equal(tensor, expected[name])

    def test_a_moved_adapter_has_the_weights_of_the_one_that_it_was(self, bert):
        spec = AdapterSpec(depth=4, adapters=loras(0, 1, 2, 3))
        old = fill_randomly(build(bert, spec, 3, seed=0)).trained_state()
        found = mapped(spec, bert, 4, 2)
        fresh = build(bert, found.spec, 3, seed=1).trained_state()
        state, _ = moved_weights(fresh, old, found.moves)
        for name in ("down", "up"):
            key = f"value.{name}"
            own = next(v for k, v in state.items() if k.startswith("adapters.1.") and key in k)
            was = next(v for k, v in old.items() if k.startswith("adapters.3.") and key in k)
            assert torch.equal(own, was)

    def test_a_head_answers_the_same_numbers_in_another_scale(self, bert):
        spec = AdapterSpec(depth=2, adapters=loras(1))
        model = fill_randomly(build(bert, spec, 1, seed=0))
        before, now = TargetScale(mean=3.0, std=2.0), TargetScale(mean=-1.0, std=5.0)
        ids, mask = random_batch(4, 6)
        with torch.no_grad():
            was = model(ids, mask) * before.std + before.mean
            model.load_trained_state(in_scale(model.trained_state(), before, now))
            assert torch.allclose(model(ids, mask) * now.std + now.mean, was, atol=1e-5)
        state = model.trained_state()
        assert in_scale(state, before, before) == state and in_scale(state, None, None) == state
