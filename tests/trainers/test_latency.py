"""Latency: what is told, and that it follows the work."""

import pytest
import torch

from space.spec import AdapterSpec
from tests.trainers.tiny import everywhere, fill_randomly, structure
from trainers import latency as latency_module
from trainers.latency import N_TURNS, N_WARM_UP, measure_latency
from trainers.model import build


def test_tells_median_spread_and_ratio(minilm):
    model = build(minilm, structure(6, (0,), {"query": "lora"}), 2, seed=0)
    found = measure_latency(model, minilm, 32)
    assert found.keys() == {"latency_ms", "latency_iqr_ms", "latency_ratio"}
    assert found["latency_ms"] > 0.1
    assert found["latency_iqr_ms"] >= 0
    assert 0.5 < found["latency_ratio"] < 2


def test_half_the_depth_takes_clearly_less_time(minilm):
    model = build(minilm, AdapterSpec(depth=2), 2, seed=0)
    assert measure_latency(model, minilm, 64)["latency_ratio"] < 0.7


def test_takes_turns_with_the_whole_backbone_and_counts_medians(tiny_bert, monkeypatch):
    timed = []

    def clock(model, inputs):
        timed.append((model.spec.depth, tuple(inputs["input_ids"].shape)))
        turn = len(timed) // 2
        return 2.0 if len(timed) % 2 else 4.0 + (100.0 if turn == 3 else 0.0)

    monkeypatch.setattr(latency_module, "_time_ms", clock)
    model = build(tiny_bert, AdapterSpec(depth=2), 2, seed=0)
    found = measure_latency(model, tiny_bert, 9)
    assert timed == [(2, (1, 9)), (4, (1, 9))] * (N_WARM_UP + N_TURNS)
    assert found == {"latency_ms": 2.0, "latency_iqr_ms": 0.0, "latency_ratio": 0.5}


def test_measures_the_merged_form_and_leaves_the_model_as_it_was(tiny_bert, monkeypatch):
    model = fill_randomly(
        build(tiny_bert, everywhere(tiny_bert.shape, "parallel", 2, "mean"), 2, 0)
    )
    before = {name: tensor.clone() for name, tensor in model.trained_state().items()}
    seen = []
    monkeypatch.setattr(latency_module, "_time_ms", lambda own, ids: seen.append(own) or 1.0)
    measure_latency(model, tiny_bert, 5)
    linear = type(seen[0].view.encoder.layer[0].attention.self.key)
    assert linear is torch.nn.Linear
    assert type(model.view.encoder.layer[0].attention.self.key) is not torch.nn.Linear
    after = model.trained_state()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_one_token_is_enough(tiny_bert):
    model = build(tiny_bert, AdapterSpec(depth=1), 2, seed=0)
    assert measure_latency(model, tiny_bert, 1)["latency_ms"] == pytest.approx(1, abs=100)


def test_the_latency_with_exits_is_the_mean_over_the_rows(tiny_bert, monkeypatch):
    model = build(tiny_bert, AdapterSpec(depth=3, exits=(1, 2)), 2, seed=0)
    depths = []
    blocks = model.view.get_submodule("encoder.layer")

    def clock(form, inputs):
        before = len(depths)
        form(**inputs)
        return float(len(depths) - before)  # one for each block that ran

    for block in tiny_bert.model.get_submodule("encoder.layer"):
        monkeypatch.setattr(block, "forward", _counted(block.forward, depths))
    monkeypatch.setattr(latency_module, "_time_ms", clock)
    found = measure_latency(model, tiny_bert, 9, exit_shares=(0.5, 0.25, 0.25))
    assert len(blocks) == 3
    assert found["latency_ms"] == pytest.approx(0.5 * 1 + 0.25 * 2 + 0.25 * 3)
    assert found["latency_ratio"] == pytest.approx(1.75 / 4)


def _counted(forward, depths):
    def counted(*args, **kwargs):
        depths.append(1)
        return forward(*args, **kwargs)

    return counted
