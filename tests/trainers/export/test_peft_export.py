"""The format `peft`: stock PEFT gives the trained model's logits, and nothing of ours."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from space.adapter import Adapter
from space.roles import LINEAR_ROLES
from space.spec import AdapterSpec
from tests.trainers.explain.bundles import adapter
from tests.trainers.export.outside import BLOCK, assert_card_answers_as, run_cards
from tests.trainers.export.sources import backbone_for, export, source_of
from tests.trainers.tiny import TEXT_FAMILIES, structure
from trainers.backbone import load_backbone
from trainers.export.format import Options

peft = pytest.importorskip("peft", reason="PEFT is an optional dependency (paradapt[peft])")
from trainers.export.peft import Peft  # noqa: E402
from trainers.export.peft_layers import PREFIX_FAMILIES, position_offset  # noqa: E402

LORA = {"query": "lora", "value": "lora"}
EVERY_LORA = dict.fromkeys(
    ("query", "key", "value", "attention_output", "ffn_up", "ffn_down"), "lora"
)
IA3 = dict.fromkeys(("key", "value", "ffn_down"), "ia3")
PREFIX = {"attention": "prefix"}
SERVED_FAMILIES = tuple(sorted(set(TEXT_FAMILIES) - {"modernbert"}))


def lora(layer: int, role: str, rank: int, alpha: float, scaling: str = "alpha/rank") -> Adapter:
    return adapter(layer, role, "lora", rank=rank, alpha=alpha, scaling=scaling)


VARIOUS = AdapterSpec(
    depth=3,
    adapters=(
        lora(0, "query", 2, 8.0),
        lora(0, "value", 4, 6.5),
        lora(1, "query", 8, 16.0),
        lora(1, "ffn_up", 4, 16.0),
        lora(2, "query", 4, 16.0),
        lora(2, "key", 3, 16.0),
    ),
)
ONE_FUSED_ROLE = AdapterSpec(depth=2, adapters=(lora(0, "key", 4, 16.0), lora(1, "value", 2, 8.0)))


def by_root(spec: AdapterSpec, *, every: bool) -> AdapterSpec:
    """Return a structure whose adapters, or every second of them, are scaled by rank's root."""
    return replace(
        spec,
        adapters=tuple(
            replace(a, scaling="alpha/sqrt(rank)") if every or number % 2 else a
            for number, a in enumerate(spec.adapters)
        ),
    )


@pytest.fixture(scope="module")
def halved(tiny_folders, tmp_path_factory):
    """A backbone that is stored in bfloat16, as those of a hub often are."""
    folder = shutil.copytree(tiny_folders["llama"], tmp_path_factory.mktemp("halved") / "llama")
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return load_backbone(str(folder))


@pytest.fixture(scope="module")
def sources(tiny_folders, minilm, halved):
    """Structures of every task and kind that PEFT has a form of, at cut and at full depth."""

    def of(lesson, spec, family=None):
        return source_of(lesson, backbone_for(lesson, tiny_folders, family), spec)

    def words(spec):
        return replace(spec, pooling="none")

    return {
        "class": of("class", structure(4, (0, 1, 2, 3), EVERY_LORA)),
        "class-cut": of("class", structure(2, (1,), LORA, pooling="attention")),
        "various": of("class", VARIOUS),
        "various-by-root": of("class", by_root(VARIOUS, every=True)),
        "various-mixed": of("class", by_root(VARIOUS, every=False)),
        "fused": of("class", VARIOUS, "gpt2"),
        "fused-by-root": of("class", by_root(VARIOUS, every=True), "gpt2"),
        "fused-one": of("class", ONE_FUSED_ROLE, "gpt2"),
        "ia3": of("class", structure(3, (0, 2), IA3)),
        "ia3-fused": of("class", structure(3, (0, 2), {"value": "ia3", "ffn_down": "ia3"}), "gpt2"),
        "number": of("number", structure(4, (0, 3), LORA)),
        "number-cut": of("number", structure(2, (0, 1), IA3)),
        "tags": of("tags", words(structure(4, (0, 3), LORA))),
        "tags-cut": of("tags", words(structure(2, (0,), EVERY_LORA)), "roberta"),
        "image": of("image", structure(3, (0, 2), LORA, pooling="cls")),
        "next": of("next", words(structure(4, (0, 2), LORA))),
        "next-cut": of("next", words(structure(2, (0, 1), EVERY_LORA)), "llama"),
        "lists": of("class", structure(2, (0, 1), LORA, pooling="last"), "qwen2"),
        "halved": source_of("class", halved, structure(2, (0, 1), LORA, pooling="last")),
        "minilm": source_of("class", minilm, structure(6, (0, 5), LORA), spread=0.05),
        "minilm-cut": source_of("class", minilm, structure(3, (1, 2), EVERY_LORA), spread=0.05),
    }


OFFLINE = ("class-cut", "next-cut", "minilm-cut", "tags-cut", "lists")


@pytest.fixture(scope="module")
def exported(sources, tmp_path_factory):
    """Each of them exported, some with their backbone, and what PEFT alone made of it."""
    root = tmp_path_factory.mktemp("peft")
    folders = {}
    for name, source in sources.items():
        folders[root / name] = source
        export(Peft(), source, root / name)
    for name in OFFLINE:
        folders[root / f"{name}-offline"] = sources[name]
        export(Peft(), sources[name], root / f"{name}-offline", offline=True)
    found = run_cards(folders, tmp_path_factory.mktemp("scratch"))
    return root, {folder.name: (folders[folder], answers) for folder, answers in found.items()}


@pytest.fixture(scope="module")
def prefixed(tiny_folders, tmp_path_factory):
    """Prefixes in every block, each exported, and what PEFT alone made of it."""
    root = tmp_path_factory.mktemp("prefix")
    folders = {}
    cases = {
        "class": ("class", None, 4, "mean"),
        "class-cut": ("class", "roberta", 2, "cls"),
        "number-cut": ("number", None, 2, "mean"),
        "tags": ("tags", None, 4, "none"),
        "next": ("next", None, 4, "none"),
        "next-cut": ("next", "llama", 2, "none"),
    }
    for name, (lesson, family, depth, pooling) in cases.items():
        spec = structure(depth, tuple(range(depth)), PREFIX, rank=3, pooling=pooling)
        source = source_of(lesson, backbone_for(lesson, tiny_folders, family), spec, spread=0.5)
        folders[root / name] = source
        export(Peft(), source, root / name, offline=name == "class-cut")
    found = run_cards(
        folders, tmp_path_factory.mktemp("scratch"), lambda s: position_offset(s.bundle)
    )
    return {folder.name: (folders[folder], answers) for folder, answers in found.items()}


def assert_all_answer_as_trained(found):
    for name, (source, answers) in found.items():
        try:
            assert_card_answers_as(source, answers)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_the_code_of_every_card_answers_as_the_trained_model(exported):
    assert_all_answer_as_trained(exported[1])


def test_prefixes_answer_as_the_trained_model(prefixed):
    assert_all_answer_as_trained(prefixed)


def config_in(folder):
    return json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))


def test_the_folder_holds_safetensors_and_what_says_how_to_load_them(exported):
    names = {path.name for path in (exported[0] / "class").iterdir()}
    assert names == {
        *("adapter_config.json", "adapter_model.safetensors", "config.json", "proof.json"),
        *("tokenizer.json", "tokenizer_config.json", "README.md", "SHA256SUMS"),
    }
    offline = exported[0] / "class-cut-offline" / "backbone"
    assert {path.name for path in offline.iterdir()} == {"config.json", "model.safetensors"}
    weights = load_file(offline / "model.safetensors")
    assert {k.split(".")[2] for k in weights if k.startswith("encoder.layer.")} == {"0", "1"}


def test_ranks_and_alphas_are_written_out_for_each_layer(exported):
    config = config_in(exported[0] / "various")
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (4, 16, False)
    block = "bert.encoder.layer."
    assert config["rank_pattern"] == {
        f"{block}0.attention.self.query": 2,
        f"{block}1.attention.self.query": 8,
        f"{block}2.attention.self.key": 3,
    }
    assert config["alpha_pattern"] == {
        f"{block}0.attention.self.query": 8,
        f"{block}0.attention.self.value": 6.5,
    }
    assert len(config["target_modules"]) == 6
    assert config["modules_to_save"] == ["classifier"]
    assert config["task_type"] == "TOKEN_CLS"
    assert config_in(exported[0] / "various-by-root")["use_rslora"] is True
    assert config_in(exported[0] / "various-mixed")["use_rslora"] is False


def test_roles_of_one_fused_layer_become_one_adapter(exported):
    config = config_in(exported[0] / "fused")
    assert config["fan_in_fan_out"] is True
    assert config["rank_pattern"]["transformer.h.2.attn.c_attn"] == 7
    weights = load_file(exported[0] / "fused" / "adapter_model.safetensors")
    up = weights["base_model.model.transformer.h.2.attn.c_attn.lora_B.weight"]  # (3 D, R)
    assert up[:32, 4:].abs().max() == 0, "queries read no rank of the keys"
    assert up[64:].abs().max() == 0, "values have no adapter"


def test_where_a_list_for_each_block_cannot_be_cut_in_one_call_the_card_does_not_say_so(exported):
    def blocks(name):
        return BLOCK.findall((exported[0] / name / "README.md").read_text(encoding="utf-8"))

    assert len(blocks("lists")) == 1
    assert len(blocks("lists-offline")) == 2
    assert "num_hidden_layers=2, num_labels=3" in blocks("class-cut")[1]
    assert '.from_pretrained(".")' in blocks("class-cut-offline")[1]


@pytest.mark.parametrize("family", SERVED_FAMILIES)
def test_every_family_with_a_stock_class_is_exported(family, tiny_backbones, tmp_path):
    backbone = tiny_backbones[family]
    served = {role: "lora" for role in backbone.shape.roles if role in LINEAR_ROLES}
    source = source_of("class", backbone, structure(3, (0, 2), served))
    proof = export(Peft(), source, tmp_path / "out")
    assert proof["largest_difference"] < 1e-5
    assert proof["served"]["PEFT"]["served"]


@pytest.mark.parametrize("family", SERVED_FAMILIES)
def test_a_prefix_is_exported_or_refused_in_every_family(family, tiny_backbones, tmp_path):
    backbone = tiny_backbones[family]
    if not backbone.shape.takes_prefix:
        return
    spec = structure(2, (0, 1), PREFIX, rank=3)
    source = source_of("class", backbone, spec, spread=0.5)
    if family in PREFIX_FAMILIES:
        assert export(Peft(), source, tmp_path / "out")["largest_difference"] < 1e-5
    else:
        assert "gives no keys and values to the family" in Peft().refusal(source, Options())


REFUSED = {
    "mixed kinds": (
        AdapterSpec(depth=2, adapters=(adapter(0, "query", "lora"), adapter(1, "key", "ia3"))),
        r"it mixes kinds \(lora at query of block 0, ia3 at key of block 1\).*or `--format merged`",
    ),
    "experts": (
        AdapterSpec(depth=2, adapters=(adapter(1, "query", "lora", experts=2),)),
        r"PEFT has no form of lora of 2 experts at query of block 1. Use `--format bundle`",
    ),
    "prefix in some blocks": (
        AdapterSpec(depth=2, adapters=(adapter(1, "attention", "prefix"),)),
        "PEFT's prefix stands in every block with one rank, and this one does not",
    ),
    "head only": (AdapterSpec(depth=2), "no adapter that PEFT could load.*`--format merged`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_peft_has_no_form_of_is_refused(name, tiny_bert):
    spec, message = REFUSED[name]
    refusal = Peft().refusal(source_of("class", tiny_bert, spec), Options())
    assert re.search(message, refusal)


def test_a_prefix_that_is_let_in_partly_is_refused(tiny_bert):
    source = source_of("class", tiny_bert, structure(2, (0, 1), PREFIX))
    source.bundle.model.warm_up(0.5)
    assert "let in only partly" in Peft().refusal(source, Options())
