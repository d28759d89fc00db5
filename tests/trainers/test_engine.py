"""The engine is chosen by measurement, remembered, and gives what the plain backbone gives."""

import json
from dataclasses import replace

import pytest
import torch

from space.spec import AdapterSpec
from tests.trainers.test_contract import inputs_of
from trainers import engine as engine_module
from trainers.engine import FLOAT32, Engine, choose_engine, prepared
from trainers.model import build


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def answers(backbone, engine, inputs):
    model = build(prepared(backbone, engine), AdapterSpec(depth=3), 3, seed=0)
    with torch.no_grad(), engine_module.autocast(engine, torch.device("cpu")):
        return model(**inputs)


def with_peaks(monkeypatch, float32, bfloat16):
    peaks = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(engine_module, "peak_gflops", peaks.__getitem__)


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [(85.0, 9.0, "float32"), (200.0, 1700.0, "bfloat16"), (100.0, 105.0, "float32")],
)
def test_bfloat16_is_taken_only_where_it_is_faster(
    tiny_bert, monkeypatch, float32, bfloat16, expected
):
    with_peaks(monkeypatch, float32, bfloat16)
    assert choose_engine(tiny_bert, "auto", 4, 8).precision == expected


def test_the_user_may_say_the_precision(tiny_bert, monkeypatch):
    with_peaks(monkeypatch, 200.0, 1.0)
    assert choose_engine(tiny_bert, "bfloat16", 4, 8).precision == "bfloat16"


def test_a_choice_is_remembered(tiny_bert, monkeypatch, tmp_path):
    first = choose_engine(tiny_bert, "auto", 4, 8)

    def measure(*_args):
        raise AssertionError("it was measured before")

    monkeypatch.setattr(engine_module, "peak_gflops", measure)
    monkeypatch.setattr(engine_module, "_block_step", measure)
    assert choose_engine(tiny_bert, "auto", 4, 8) == first
    assert choose_engine(tiny_bert, "auto", 4, 9) == first  # lengths alike share a measurement
    assert json.loads((tmp_path / "paradapt" / "precision.json").read_text())


@pytest.mark.parametrize(("eager", "sdpa", "expected"), [(1, 3, "eager"), (3, 1, "sdpa")])
def test_the_faster_attention_is_taken(tiny_bert, monkeypatch, eager, sdpa, expected):
    took = {"eager": eager, "sdpa": sdpa}
    monkeypatch.setattr(
        engine_module,
        "_block_step",
        lambda backbone, *_: took[backbone.model.config._attn_implementation],
    )
    monkeypatch.setattr(engine_module, "_time_s", float)
    assert choose_engine(tiny_bert, "float32", 4, 8).attention == expected


def test_every_family_can_be_measured(tiny_any):
    n_tokens = 8 if tiny_any.image is None else tiny_any.image.n_tokens
    assert choose_engine(tiny_any, "auto", 2, n_tokens).attention in engine_module.ATTENTIONS
    assert all(p.grad is None for p in tiny_any.model.parameters())


@pytest.mark.parametrize("attention", engine_module.ATTENTIONS)
def test_every_attention_answers_alike(tiny_any, attention):
    try:
        engine = replace(FLOAT32, attention=attention)
        prepared(tiny_any, engine)
    except ValueError:
        pytest.skip("this family has no such attention")
    inputs = inputs_of(tiny_any)
    expected = answers(tiny_any, FLOAT32, inputs)
    assert torch.allclose(answers(tiny_any, engine, inputs), expected, atol=1e-5)


def test_bfloat16_is_near_and_leaves_the_backbone_as_it_is(tiny_any):
    inputs = inputs_of(tiny_any)
    expected = answers(tiny_any, FLOAT32, inputs)
    engine = Engine(precision="bfloat16", attention="eager")
    found = answers(tiny_any, engine, inputs)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=0.1)
    assert {p.dtype for p in tiny_any.model.parameters()} == {torch.float32}


def test_weights_are_shared_where_they_need_no_cast(tiny_bert):
    own = prepared(tiny_bert, replace(FLOAT32, attention="sdpa"))
    pointers = {p.data_ptr() for p in tiny_bert.model.parameters()}
    assert {p.data_ptr() for p in own.model.parameters()} == pointers
    assert tiny_bert.model.config._attn_implementation == "eager"
    assert prepared(tiny_bert, FLOAT32) is tiny_bert
