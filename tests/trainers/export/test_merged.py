"""The format `merged`: stock transformers gives the trained model's logits, and nothing of ours."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from space.errors import UserError
from tests.trainers.data.test_tokens import byte_pairs
from tests.trainers.export.outside import CLOSE, assert_card_answers_as, run_cards
from tests.trainers.export.sources import backbone_for, export, source_of
from tests.trainers.tiny import CONFIGS, TEXT_FAMILIES, save_model, structure
from trainers.backbone import load_backbone
from trainers.export.merged import Merged
from trainers.export.stock import SCORE

MIXED = {"query": "lora", "key": "ia3", "value": "lora", "ffn_down": "ia3"}
LORA = {"query": "lora", "value": "lora"}
SERVED_FAMILIES = tuple(sorted(set(TEXT_FAMILIES) - {"modernbert"}))


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory):
    """A backbone whose tokenizer takes the blank before a word as part of it, and cannot pad."""
    folder = tmp_path_factory.mktemp("bytes") / "gpt2"
    config = CONFIGS["gpt2"]()
    config.vocab_size = 300
    save_model(config, folder)
    (folder / "vocab.txt").unlink()
    byte_pairs().save_pretrained(folder)
    return load_backbone(str(folder), task="token-classification")


@pytest.fixture(scope="module")
def sources(tiny_folders, minilm, of_bytes):
    """Structures of every task, at cut and at full depth."""

    def of(lesson, depth, served=MIXED, family=None, pooling="mean"):
        backbone = backbone_for(lesson, tiny_folders, family)
        layers = tuple(range(0, depth, 2))
        return source_of(lesson, backbone, structure(depth, layers, served, pooling=pooling))

    return {
        "class": of("class", 4),
        "class-cut": of("class", 2, pooling="cls"),
        "class-attention": of("class", 3, pooling="attention"),
        "class-last": of("class", 3, family="llama", pooling="last"),
        "head-only": of("class", 1, served={}),
        "pair": of("pair", 3),
        "pair-distilbert": of("pair", 3, family="distilbert"),
        "classes": of("classes", 3),
        "number": of("number", 4),
        "number-cut": of("number", 2, pooling="attention"),
        "tags": of("tags", 4, pooling="none"),
        "tags-cut": of("tags", 2, family="roberta", pooling="none"),
        "tags-bytes": source_of("tags", of_bytes, structure(2, (0,), LORA, pooling="none")),
        "image": of("image", 3, pooling="cls"),
        "image-mean": of("image", 3, family="dinov2", pooling="mean"),
        "next": of("next", 4, pooling="none"),
        "next-cut": of("next", 2, family="llama", pooling="none"),
        "minilm": source_of("class", minilm, structure(6, (0, 3, 5), MIXED), spread=0.05),
        "minilm-cut": source_of("class", minilm, structure(3, (1, 2), LORA), spread=0.05),
    }


@pytest.fixture(scope="module")
def exported(sources, tmp_path_factory):
    """Each of them exported, and what a process without our packages made of it."""
    root = tmp_path_factory.mktemp("merged")
    for name, source in sources.items():
        export(Merged(), source, root / name)
    scratch = tmp_path_factory.mktemp("scratch")
    found = run_cards({root / name: source for name, source in sources.items()}, scratch)
    return root, {folder.name: answers for folder, answers in found.items()}


def test_the_code_of_every_card_answers_as_the_trained_model(sources, exported):
    for name, source in sources.items():
        try:
            assert_card_answers_as(source, exported[1][name])
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_the_folder_is_a_plain_model_cut_to_its_depth(sources, exported):
    folder = exported[0] / "class-cut"
    names = {path.name for path in folder.iterdir()}
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names == wanted | {"README.md", "SHA256SUMS", "proof.json"}
    weights = load_file(folder / "model.safetensors")
    assert {k.split(".")[3] for k in weights if k.startswith("bert.encoder.layer.")} == {"0", "1"}
    config = AutoConfig.from_pretrained(folder)
    assert config.num_hidden_layers == 2
    assert config.id2label == {0: "fruit", 1: "tool"}
    assert config.problem_type == "single_label_classification"
    assert config.paradapt["reduction"] == "cls"
    assert all(path.stat().st_mode & 0o044 for path in folder.iterdir())


def test_a_scale_and_an_output_for_attention_stand_in_the_config(exported):
    config = AutoConfig.from_pretrained(exported[0] / "number-cut")
    assert config.id2label == {0: "number", 1: SCORE}
    assert config.problem_type == "regression"
    assert config.paradapt["scale"] == {"mean": 100.0, "std": 20.0}
    card = (exported[0] / "number-cut" / "README.md").read_text(encoding="utf-8")
    assert "logits[:, 0] * 20.0 + 100.0" in card


def test_the_tokenizer_gives_what_the_model_takes(exported):
    single = AutoTokenizer.from_pretrained(exported[0] / "class")
    assert set(single("a")) == {"input_ids", "attention_mask"}
    pair = AutoTokenizer.from_pretrained(exported[0] / "pair")
    assert set(pair("a", "b")) == {"input_ids", "token_type_ids", "attention_mask"}
    without = AutoTokenizer.from_pretrained(exported[0] / "pair-distilbert")
    assert set(without("a", "b")) == {"input_ids", "attention_mask"}


def test_the_image_processor_makes_of_pixels_what_ours_makes(sources, exported):
    table = sources["image"].rows
    processor = AutoImageProcessor.from_pretrained(exported[0] / "image")
    pixels = [torch.from_numpy(image) for image in table.pixels[:2]]
    made = processor(images=pixels, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(made, table.collate(range(2)).inputs["pixel_values"], **CLOSE)


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("family", SERVED_FAMILIES)
def test_every_family_with_a_stock_class_is_exported(family, depth, tiny_backbones, tmp_path):
    source = source_of("class", tiny_backbones[family], structure(depth, (0, depth - 1), MIXED))
    proof = export(Merged(), source, tmp_path / "out")
    assert proof["largest_difference"] < 1e-5
    assert proof["served"]["transformers"]["served"]
    assert json.loads((tmp_path / "out" / "proof.json").read_text()) == proof


def test_modernbert_is_refused_for_its_stock_head(tiny_backbones):
    source = source_of("class", tiny_backbones["modernbert"], structure(2, (0,), LORA))
    refusal = Merged().refusal(source, None)
    assert "ModernBertForTokenClassification puts more than a linear layer" in refusal
    assert "--format onnx" in refusal


def test_a_pooling_that_an_image_class_cannot_read_is_refused(tiny_backbones):
    backbone = tiny_backbones["vit"]
    source = source_of("image", backbone, structure(2, (0,), LORA, pooling="mean"))
    assert "reads the first token, but this structure has mean pooling" in Merged().refusal(
        source, None
    )


def test_a_model_that_answers_otherwise_is_not_written(tiny_bert, tmp_path):
    source = source_of("class", tiny_bert, structure(2, (0, 1), LORA))
    pooled = replace(source.bundle.config, spec=replace(source.bundle.config.spec, pooling="cls"))
    wrong = replace(source, bundle=replace(source.bundle, config=pooled))
    with pytest.raises(UserError, match="answers otherwise than the trained model"):
        export(Merged(), wrong, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_backbone_is_left_as_it_was(tiny_backbones, tmp_path):
    backbone = tiny_backbones["gpt2"]
    before = {name: t.clone() for name, t in backbone.model.state_dict().items()}
    layers = backbone.model.config.num_hidden_layers
    export(Merged(), source_of("class", backbone, structure(2, (0, 1), MIXED)), tmp_path / "out")
    assert backbone.model.config.num_hidden_layers == layers
    assert not hasattr(backbone.model.config, "paradapt")
    for name, tensor in backbone.model.state_dict().items():
        assert torch.equal(tensor, before[name])
