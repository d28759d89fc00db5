"""Families outside the table: matched by their structure, or refused with what was found."""

import pytest
import torch
from transformers import (
    AlbertConfig,
    BartConfig,
    BloomConfig,
    Data2VecTextConfig,
    DeiTConfig,
    Dinov2WithRegistersConfig,
    ErnieConfig,
    GPTNeoXConfig,
    OPTConfig,
    PhiConfig,
    RoFormerConfig,
    T5Config,
    Wav2Vec2Config,
)

from space.errors import UserError
from tests.trainers.test_contract import answers, inputs_of, let_in
from tests.trainers.tiny import N_LAYERS, WIDTH, save_model, save_tiny, structure
from trainers.backbone import load_backbone
from trainers.families import FAMILIES
from trainers.matching import match_report
from trainers.model import build, deploy

COMMON = {
    "vocab_size": 64,
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
UNKNOWN = {
    "ernie": lambda: ErnieConfig(**COMMON),
    "roformer": lambda: RoFormerConfig(**COMMON),
    "opt": lambda: OPTConfig(
        vocab_size=64,
        hidden_size=WIDTH,
        word_embed_proj_dim=WIDTH,
        ffn_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
    ),
    "phi": lambda: PhiConfig(**COMMON),
}
ROLES = {"query", "key", "value", "attention_output", "ffn_up", "ffn_down"}


def load(config, folder):
    return load_backbone(str(save_model(config, folder)))


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_like_family_is_matched_by_names_and_shapes(name, tmp_path):
    assert name not in FAMILIES
    backbone = load(UNKNOWN[name](), tmp_path / name)
    report = match_report(backbone.model, backbone.family)
    assert (report.how, report.n_blocks) == ("structure", 3)
    assert {layer.role for layer in report.layers} == ROLES
    shapes = {layer.role: layer.shape for layer in report.layers}
    assert shapes["ffn_up"] == (WIDTH, 48) and shapes["ffn_down"] == (48, WIDTH)
    assert backbone.shape.causal == (name in ("opt", "phi"))


@pytest.mark.parametrize("name", ["ernie", "opt"])
def test_what_is_matched_can_be_adapted(name, tmp_path):
    backbone = load(UNKNOWN[name](), tmp_path / name)
    served = {"query": "lora", "value": "ia3", "ffn": "bottleneck", "attention": "parallel"}
    model = let_in(build(backbone, structure(2, (0, 1), served), 3, seed=0))
    inputs = inputs_of(backbone)
    torch.testing.assert_close(
        answers(deploy(model, backbone), inputs), answers(model, inputs), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        # Queries, keys and values lie interleaved in one layer: no part of it is one role.
        (
            lambda: GPTNeoXConfig(**COMMON),
            r"family 'gpt_neox', .* query is missing, value is missing.*query_key_value 32->96: no",
        ),
        (
            lambda: BloomConfig(vocab_size=64, hidden_size=WIDTH, n_layer=3, n_head=4),
            r"family 'bloom', .* query is missing",
        ),
        # One block for all layers.
        (
            lambda: AlbertConfig(**COMMON, embedding_size=16),
            r"family 'albert', .* it runs 3 blocks but has 1 \(.*\): some are run several times",
        ),
        # Two lists of blocks: encoder and decoder.
        (
            lambda: BartConfig(
                vocab_size=64,
                d_model=WIDTH,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=48,
                decoder_ffn_dim=48,
                max_position_embeddings=64,
                pad_token_id=0,
            ),
            r"family 'bart', .* 2 lists of blocks where one is needed",
        ),
    ],
)
def test_what_does_not_tell_its_roles_is_refused(config, message, tmp_path):
    with pytest.raises(UserError, match=message):
        load(config(), tmp_path / "model")


def test_a_fused_layer_is_told_by_its_parts(tmp_path):
    backbone = load_backbone(str(save_tiny("gpt2", tmp_path / "model")))
    report = match_report(backbone.model, backbone.family)
    fused = {layer.path for layer in report.layers if layer.role in ("query", "key", "value")}
    assert fused == {f"attn.c_attn ({part} of 3)" for part in (1, 2, 3)}
    assert report.n_blocks == N_LAYERS


def test_a_variant_of_a_family_is_found_by_what_is_there(tmp_path):
    config = T5Config(
        vocab_size=64,
        d_model=WIDTH,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    backbone = load(config, tmp_path / "model")
    roles = dict(backbone.family.roles)
    assert roles["ffn_gate"].path.endswith("wi_0") and roles["ffn_up"].path.endswith("wi_1")
    assert "ffn_gate" in backbone.shape.roles


def test_the_norm_that_stands_before_the_blocks_in_the_model_is_found(tmp_path):
    backbone = load(UNKNOWN["opt"](), tmp_path / "model")
    assert backbone.family.final_norm == "decoder.final_layer_norm"


def test_positions_that_begin_behind_padding_are_seen(tmp_path):
    backbone = load(Data2VecTextConfig(**COMMON), tmp_path / "model")
    ids = torch.full((1, backbone.max_tokens + 1), 7)
    backbone.model(input_ids=ids[:, 1:])
    with pytest.raises((IndexError, RuntimeError)):
        backbone.model(input_ids=ids)


@pytest.mark.parametrize(
    ("config", "n_tokens"),
    [
        (DeiTConfig, 9 + 2),  # one of its class, one of its teacher
        (Dinov2WithRegistersConfig, 9 + 1 + 4),
    ],
)
def test_the_tokens_of_an_image_are_counted(config, n_tokens, tmp_path):
    sizes = {key: COMMON[key] for key in ("hidden_size", "num_hidden_layers")}
    made = config(
        **sizes,
        num_attention_heads=4,
        intermediate_size=48,
        mlp_ratio=2,
        image_size=12,
        patch_size=4,
    )
    folder = save_model(made, tmp_path / "model", images=True)
    backbone = load_backbone(str(folder), task="image-classification")
    assert match_report(backbone.model, backbone.family).how == "structure"
    assert backbone.image.n_tokens == n_tokens
    assert n_tokens - backbone.family.beside_patches == 9
    assert backbone.shape.embedding_macs == pytest.approx(3 * 4 * 4 * WIDTH * 9 / n_tokens)
    with pytest.raises(UserError, match="reads images, which does not go with the task"):
        load_backbone(str(folder))


def test_what_reads_sound_is_refused(tmp_path):
    config = Wav2Vec2Config(
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=[8],
        conv_kernel=[3],
        conv_stride=[2],
        num_feat_extract_layers=1,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        vocab_size=64,
    )
    with pytest.raises(UserError, match="reads input_values; only text"):
        load(config, tmp_path / "model")
