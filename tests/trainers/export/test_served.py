"""Where an export can be served: computed from structure, family and format, with a reason."""

from dataclasses import replace

import pytest

from space.spec import AdapterSpec
from tests.trainers.explain.bundles import adapter
from tests.trainers.test_bundle import config_for
from tests.trainers.tiny import structure
from trainers.export.served import VLLM_RANKS, served
from trainers.families import FAMILIES

LORA = {"query": "lora", "value": "lora"}
FORMATS = ("bundle", "peft", "merged", "onnx", "openvino", "mlflow")


@pytest.fixture
def verdicts(tiny_bert):
    """The verdicts on a structure, by place."""

    def ask(form, *, family="llama", task="causal-lm", spec=None):
        spec = spec or structure(2, (0, 1), LORA, rank=8, pooling="none")
        labels = () if task == "causal-lm" else ("fruit", "tool")
        config = config_for(tiny_bert, spec, task=task, labels=labels)
        return served(config, FAMILIES[family], form)

    return ask


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("task", ["causal-lm", "text-classification"])
def test_every_place_has_a_verdict_with_a_reason(verdicts, form, task):
    found = verdicts(form, task=task)
    assert list(found) == [
        *("transformers", "PEFT", "ONNX Runtime", "OpenVINO"),
        *("vLLM", "TensorRT-LLM", "Paradapt alone"),
    ]
    assert all(verdict.reason for verdict in found.values())
    others = [v.served for place, v in found.items() if place != "Paradapt alone"]
    assert found["Paradapt alone"].served == (not any(others))


@pytest.mark.parametrize(
    ("form", "place"),
    [
        ("merged", "transformers"),
        ("peft", "PEFT"),
        ("onnx", "ONNX Runtime"),
        ("openvino", "OpenVINO"),
        ("bundle", "Paradapt alone"),
        ("mlflow", "Paradapt alone"),
    ],
)
def test_a_classifier_is_served_where_its_format_is_loaded_and_nowhere_else(verdicts, form, place):
    found = verdicts(form, task="text-classification")
    assert [name for name, verdict in found.items() if verdict.served] == [place]
    assert "trained for text-classification" in found["vLLM"].reason


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("form", ["merged", "peft"])
def test_a_language_model_is_served_by_both_servers(verdicts, form, family):
    found = verdicts(form, family=family)
    assert found["vLLM"].served
    assert found["TensorRT-LLM"].served


@pytest.mark.parametrize(("rank", "allowed"), [(1, 8), (8, 8), (9, 16), (200, 256), (400, 512)])
def test_vllm_is_given_the_least_rank_that_it_allows(verdicts, rank, allowed):
    spec = structure(2, (0, 1), LORA, rank=rank, pooling="none")
    assert allowed in VLLM_RANKS
    assert f"--max-lora-rank {allowed}`" in verdicts("peft", spec=spec)["vLLM"].reason


def test_a_rank_above_all_that_vllm_allows_is_told(verdicts):
    spec = structure(2, (0, 1), LORA, rank=513, pooling="none")
    found = verdicts("peft", spec=spec)["vLLM"]
    assert not found.served
    assert "end at 512, and this one is 513" in found.reason


IA3 = AdapterSpec(depth=2, adapters=(adapter(0, "key", "ia3"),), pooling="none")
TWO_RANKS = AdapterSpec(
    depth=2,
    adapters=(adapter(0, "query", "lora", rank=4), adapter(1, "query", "lora", rank=8)),
    pooling="none",
)
TWO_RULES = replace(
    TWO_RANKS,
    adapters=(
        adapter(0, "query", "lora"),
        adapter(1, "query", "lora", scaling="alpha/sqrt(rank)"),
    ),
)


@pytest.mark.parametrize("place", ["vLLM", "TensorRT-LLM"])
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (IA3, "serves LoRA only, and this is ia3"),
        (TWO_RANKS, "reads one rank and one alpha"),
        (TWO_RULES, "reads one rank and one alpha"),
    ],
    ids=["ia3", "two ranks", "two rules"],
)
def test_an_adapter_that_a_server_would_misread_is_not_served(verdicts, place, spec, reason):
    found = verdicts("peft", spec=spec)[place]
    assert not found.served
    assert reason in found.reason
    assert verdicts("merged", spec=spec)[place].served, "folded in, nothing can be misread"


def test_a_family_is_served_as_far_as_the_server_goes(verdicts):
    assert verdicts("merged", family="gpt2")["vLLM"].served
    assert "no LoRA for gpt2" in verdicts("peft", family="gpt2")["vLLM"].reason
    assert (
        "not known to serve the family gpt2"
        in verdicts("peft", family="gpt2")["TensorRT-LLM"].reason
    )
    assert "`--format merged`" in verdicts("bundle")["vLLM"].reason
