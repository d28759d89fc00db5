"""What holds for a backbone of every family; a new entry of the table inherits all of it."""

import pytest
import torch
from torch import nn
from transformers import AutoModel, T5EncoderModel
from transformers.pytorch_utils import Conv1D

from tests.trainers.test_contract import inputs_of
from tests.trainers.tiny import CONFIGS, INNER_WIDTH, N_LAYERS, WIDTH
from trainers.backbone import fingerprint, load_backbone
from trainers.families import FAMILIES
from trainers.matching import match_report, widths

KV_WIDTH = {"llama": 16, "mistral": 16, "qwen2": 16, "qwen3": 16, "gemma": 16}
GATED = {"modernbert", "llama", "mistral", "qwen2", "qwen3", "gemma"}


def test_every_family_has_a_tiny_model():
    assert CONFIGS.keys() == FAMILIES.keys()


class TestBackboneFamily:
    def test_it_has_the_roles_of_its_kind(self, tiny_any):
        linear = {"query", "key", "value", "attention_output", "ffn_up", "ffn_down"}
        gate = {"ffn_gate"} if tiny_any.family.model_type in GATED else set()
        assert set(tiny_any.shape.roles) == linear | gate | {"attention", "ffn"}

    def test_it_has_the_widths_of_its_config(self, tiny_any):
        shape, model_type = tiny_any.shape, tiny_any.family.model_type
        inner = 64 if model_type == "dinov2" else INNER_WIDTH
        assert (shape.n_layers, shape.width, shape.attention_width) == (N_LAYERS, WIDTH, WIDTH)
        assert shape.kv_width == KV_WIDTH.get(model_type, WIDTH)
        assert shape.widths("key") == shape.widths("value") == (WIDTH, shape.kv_width)
        assert shape.widths("ffn_up") == (WIDTH, inner)
        assert shape.widths("ffn_down") == (inner, WIDTH)
        assert shape.widths("attention") == shape.widths("ffn") == (WIDTH, WIDTH)

    def test_each_role_is_a_linear_layer_or_an_equal_part_of_one(self, tiny_any):
        blocks = tiny_any.model.get_submodule(tiny_any.family.blocks)
        places = [place for _, place in tiny_any.family.roles]
        assert len(set(places)) == len(places)
        for block in blocks:
            for role, place in tiny_any.family.roles:
                layer = block.get_submodule(place.path)
                assert isinstance(layer, (nn.Linear, Conv1D)), role
                assert place.part < place.n_parts
                assert widths(layer)[1] % place.n_parts == 0

    def test_every_linear_layer_of_a_block_has_a_role(self, tiny_any):
        report = match_report(tiny_any.model, tiny_any.family)
        assert (report.how, report.n_blocks) == ("table", N_LAYERS)
        assert all(layer.role for layer in report.layers)

    def test_it_is_frozen_in_eval_mode_and_float32(self, tiny_any):
        assert not any(module.training for module in tiny_any.model.modules())
        for parameter in tiny_any.model.parameters():
            assert not parameter.requires_grad
            assert parameter.dtype == torch.float32

    def test_it_answers_as_transformers_own_model(self, tiny_any, tiny_folders):
        model_type = tiny_any.family.model_type
        auto = T5EncoderModel if model_type == "t5" else AutoModel
        own = auto.from_pretrained(tiny_folders[model_type]).eval()
        inputs = inputs_of(tiny_any)
        with torch.no_grad():
            expected, found = own(**inputs)[0], tiny_any.model(**inputs)[0]
        real = inputs.get("attention_mask", torch.ones(found.shape[:2])).bool()
        torch.testing.assert_close(found[real], expected[real], atol=2e-5, rtol=1e-4)

    def test_its_fingerprint_is_that_of_its_weights(self, tiny_any, tiny_folders, tmp_path):
        model_type = tiny_any.family.model_type
        again = load_backbone(
            str(tiny_folders[model_type]),
            task="image-classification" if tiny_any.image else "text-classification",
        )
        assert again.fingerprint == tiny_any.fingerprint
        with torch.no_grad():
            next(again.model.get_submodule(again.family.blocks).parameters()).add_(1e-3)
        assert fingerprint(again.model, again.family.unused) != tiny_any.fingerprint

    def test_it_sees_later_tokens_unless_it_is_causal(self, tiny_any):
        if tiny_any.image is not None:
            return
        ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]])
        with torch.no_grad():
            hidden = tiny_any.model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
        same = torch.allclose(hidden[0, 0], hidden[1, 0], atol=1e-6)
        assert same == tiny_any.shape.causal == tiny_any.family.causal

    def test_the_longest_sequence_that_it_takes_runs(self, tiny_any):
        if tiny_any.image is not None or tiny_any.max_tokens > 1000:
            return
        ids = torch.full((1, tiny_any.max_tokens), 7)
        out = tiny_any.model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
        assert out.shape == (1, tiny_any.max_tokens, WIDTH)
        assert torch.isfinite(out).all()

    def test_what_is_left_out_behind_the_last_block_is_there(self, tiny_any):
        names = dict(tiny_any.model.named_children())
        assert set(tiny_any.family.unused) <= names.keys()
        if tiny_any.family.final_norm:
            norm = tiny_any.model.get_submodule(tiny_any.family.final_norm)
            assert "norm" in type(norm).__name__.lower()


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_positions_end_where_max_tokens_says(tiny_backbones, family):
    backbone = tiny_backbones[family]
    ids = torch.full((1, backbone.max_tokens + 1), 7)
    with pytest.raises((IndexError, RuntimeError)):
        backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids))


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_a_tokenizer_comes_with_it(tiny_backbones, family):
    backbone = tiny_backbones[family]
    ids = backbone.tokenizer("the old hammer")["input_ids"]
    assert backbone.tokenizer.convert_ids_to_tokens(ids)[1:-1] == ["the", "old", "hammer"]
    assert backbone.pad_id == 0
