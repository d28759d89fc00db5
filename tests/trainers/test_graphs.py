"""Losses from CUDA graphs are those without; what they ask of batches changes no loss."""

import copy
from dataclasses import replace

import pytest
import torch

from space.adapter import Adapter, TokenSkip
from space.search_space import Learning
from space.side import Side
from space.spec import AdapterSpec
from tests.trainers.test_fit import TASK, separable
from trainers import graphs
from trainers.data import Batch, encode
from trainers.engine import FLOAT32, Engine, prepared
from trainers.expert_ways import WAYS
from trainers.graphs import BatchLoss, GraphedLoss, can_be_graphed, padded, shapes_of
from trainers.losses import class_loss, classes_loss, tags_loss
from trainers.model import build
from trainers.steps import make_optimizer
from trainers.tasks import IGNORED

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
BFLOAT16 = Engine(precision="bfloat16", attention="sdpa")
EXPERTS = {"rank": 4, "alpha": 8.0, "experts": 4, "top_k": 2, "router": "token"}


def adapter(kind, role, layer=1, **more):
    return Adapter(layer=layer, role=role, kind=kind, **more)


LORA = AdapterSpec(depth=3, adapters=(adapter("lora", "query", rank=4, alpha=8.0),))
SPECS = {
    "head only": AdapterSpec(depth=3),
    "lora": LORA,
    "bottleneck": AdapterSpec(depth=2, adapters=(adapter("bottleneck", "ffn", rank=4),)),
    "experts": AdapterSpec(depth=3, adapters=(adapter("lora", "query", **EXPERTS),)),
    "side": AdapterSpec(depth=3, side=Side(width=8, boundaries=(1, 3))),
}


@pytest.fixture(scope="module")
def backbone(tiny_backbones):
    return tiny_backbones["bert"]


def batch_of(backbone, n_rows=8, seed=0):
    table = encode(separable(n_rows, seed), TASK, backbone, 16)
    return table.collate(range(n_rows))


def losses(backbone, spec, loss=class_loss, engine=FLOAT32, head="sequence", n_outputs=2):
    return BatchLoss(build(backbone, spec, n_outputs, seed=0, head=head), loss, engine)


class TestPadding:
    @pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
    def test_it_changes_no_loss(self, backbone, spec):
        own, batch = losses(backbone, spec), batch_of(backbone)
        wide = padded(batch, 16, 64)
        assert wide.inputs["input_ids"].shape[1] == 16 > batch.inputs["input_ids"].shape[1]
        for found, expected in zip(own(wide), own(batch), strict=True):
            torch.testing.assert_close(found, expected)

    def test_labels_of_tokens_are_not_scored_there(self, backbone):
        batch = batch_of(backbone)
        batch = replace(batch, labels=batch.inputs["input_ids"] % 2)
        wide = padded(batch, 16, 64)
        assert (wide.labels[:, batch.labels.shape[1] :] == IGNORED).all()
        own = losses(backbone, LORA, tags_loss, head="token")
        torch.testing.assert_close(own(wide)[0], own(batch)[0])

    def test_several_labels_of_a_row_stay(self, backbone):
        batch = batch_of(backbone)
        labels = torch.nn.functional.one_hot(batch.labels, 2).float()
        wide = padded(replace(batch, labels=labels), 16, 64)
        assert wide.labels is labels
        losses(backbone, LORA, classes_loss)(wide)

    def test_known_boundaries_are_as_long(self, backbone):
        batch = batch_of(backbone)
        own = losses(backbone, LORA)
        states = {}
        own.model.running.at_boundary = states.__setitem__
        own(batch)
        own.model.running.at_boundary = None
        known = replace(batch, boundaries={1: states[1].detach()})
        torch.testing.assert_close(own(padded(known, 16, 64))[0], own(batch)[0])

    def test_no_batch_gets_longer_than_the_longest_row(self, backbone):
        batch = batch_of(backbone)
        n_tokens = batch.inputs["input_ids"].shape[1]
        assert padded(batch, 16, n_tokens) is batch
        assert padded(batch, 16, n_tokens + 1).inputs["input_ids"].shape[1] == n_tokens + 1

    def test_what_fits_and_what_is_no_text_stays_as_it_is(self, backbone):
        wide = padded(batch_of(backbone), 16, 64)
        image = Batch(inputs={"pixel_values": torch.zeros(2, 3, 5, 5)}, labels=torch.zeros(2))
        assert padded(wide, 16, 64) is wide
        assert padded(image, 16, 64) is image


def test_batches_of_one_shape_share_a_graph(backbone):
    first, second, short = batch_of(backbone), batch_of(backbone, seed=3), batch_of(backbone, 5)
    assert shapes_of(padded(first, 16, 64)) == shapes_of(padded(second, 16, 64))
    assert shapes_of(padded(first, 16, 64)) != shapes_of(padded(short, 16, 64))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_step_of_the_same_kernels_can_be_graphed(backbone, spec):
    assert can_be_graphed(build(backbone, spec, 2, seed=0))


@pytest.mark.parametrize(
    "spec",
    [
        AdapterSpec(depth=3, adapters=(adapter("prefix", "attention", rank=4),)),
        replace(LORA, exits=(1,)),
        replace(LORA, skips=(TokenSkip(layer=2, token_keep=0.5, rank=4),)),
    ],
    ids=["prefix", "exits", "skips"],
)
def test_a_step_that_asks_for_values_cannot(backbone, spec):
    assert not can_be_graphed(build(backbone, spec, 2, seed=0))


@pytest.mark.parametrize("way", WAYS)
def test_experts_that_are_sorted_cannot(backbone, way):
    model = build(backbone, SPECS["experts"], 2, seed=0, ways=lambda *_: way)
    assert can_be_graphed(model) == (way == "concatenated")


class Cuda:
    """Stands in for the GPU: counts captures, and takes as long as it is told."""

    def __init__(self, monkeypatch):
        self.captured, self.error, self.clock, self.computes_s = [], None, 0.0, 0.0
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
        monkeypatch.setattr(torch.cuda, "synchronize", self.synchronize)
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", self.capture)
        monkeypatch.setattr(graphs.time, "perf_counter", self.now)

    def now(self):
        self.clock += 1.0
        return self.clock

    def synchronize(self):
        self.clock += self.computes_s - 1.0  # a look at the clock takes a second by itself

    def capture(self, module, samples, **_how):
        if self.error is not None:
            raise self.error
        self.captured.append(samples[1].shape)
        return module


@pytest.fixture
def cuda(monkeypatch):
    return Cuda(monkeypatch)


class TestGraphedLoss:
    def batches(self, backbone, *numbers):
        return [batch_of(backbone, n, seed) for seed, n in enumerate(numbers)]

    def test_a_shape_has_its_graph_when_it_is_met_again(self, backbone, cuda):
        own = losses(backbone, LORA)
        call = GraphedLoss(own, 64)
        counts = []
        for batch in self.batches(backbone, 8, 8, 8, 5, 8, 5, 5):
            for found, expected in zip(call(batch), own(batch), strict=True):
                torch.testing.assert_close(found, expected)
            counts.append(len(cuda.captured))
        assert counts == [0, 0, 1, 1, 1, 2, 2]
        assert cuda.captured == [(8, 16), (5, 16)]

    @pytest.mark.parametrize(("computes_s", "n_graphs"), [(0.4, 1), (0.6, 0)])
    def test_a_gpu_that_computes_for_longer_has_none(self, backbone, cuda, computes_s, n_graphs):
        cuda.computes_s = computes_s
        call = GraphedLoss(losses(backbone, LORA), 64)
        for batch in self.batches(backbone, 8, 8, 8, 8):
            call(batch)
        assert len(cuda.captured) == n_graphs

    @pytest.mark.parametrize("error", [RuntimeError("capturing"), torch.OutOfMemoryError("full")])
    def test_what_cannot_be_captured_is_not_tried_again(self, backbone, cuda, error):
        cuda.error = error
        own = losses(backbone, LORA)
        call = GraphedLoss(own, 64)
        for batch in self.batches(backbone, 8, 8, 8, 8, 5, 5):
            torch.testing.assert_close(call(batch)[1], own(batch)[1])
        assert not cuda.captured and not call._pays

    def test_the_last_steps_balance_is_let_go_of(self, backbone, cuda, monkeypatch):
        own = losses(backbone, SPECS["experts"])
        own.model.train()
        seen = []
        capture = torch.cuda.make_graphed_callables

        def look(module, samples, **how):
            seen.append(module.model.balance_loss())
            return capture(module, samples, **how)

        monkeypatch.setattr(torch.cuda, "make_graphed_callables", look)
        call = GraphedLoss(own, 64)
        for batch in self.batches(backbone, 8, 8, 8):
            loss, minimised = call(batch)
            assert minimised > loss
        assert seen == [None]


@pytest.fixture
def on_card(backbone):
    """Return a backbone of its own on the GPU: others are left where they are."""

    def make(engine):
        own = prepared(backbone, replace(engine, attention="sdpa"))
        return replace(own, model=copy.deepcopy(own.model).to("cuda"))

    return make


def steps(own, call, backbone, n=24):
    """Return the losses of some steps over batches of three shapes, and how they were computed."""
    own.model.train()
    optimizer = make_optimizer(own.model, Learning(learning_rate=3e-3, head_learning_rate=3e-3))
    found = []
    for step in range(n):
        batch = batch_of(backbone, n_rows=(8, 8, 5)[step % 3], seed=step).to(torch.device("cuda"))
        loss, minimised = call(batch)
        optimizer.zero_grad()
        minimised.backward()
        optimizer.step()
        found.append(loss.detach())
    return torch.stack(found).cpu()


@on_gpu
@pytest.mark.parametrize("engine", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_on_a_gpu_graphs_train_as_steps_without(backbone, on_card, spec, engine, monkeypatch):
    monkeypatch.setattr(graphs, "BUSY", float("inf"))  # whatever the card's speed
    found = []
    for graphed in (False, True):
        own = losses(on_card(engine), spec, engine=engine)
        own.model.to("cuda")
        call = GraphedLoss(own, 64) if graphed else own
        found.append(steps(own, call, backbone))
    assert len(call._graphs) == 2
    torch.testing.assert_close(
        found[1], found[0], rtol=1e-3 if engine is FLOAT32 else 0.05, atol=1e-3
    )


@on_gpu
def test_on_a_gpu_what_cannot_be_captured_runs_as_it_is(backbone, on_card, monkeypatch):
    monkeypatch.setattr(graphs, "BUSY", float("inf"))

    asked = []

    def asks(logits, labels):
        asked.append(logits.sum().item())
        return class_loss(logits, labels)

    own = losses(on_card(FLOAT32), LORA, asks)
    own.model.to("cuda")
    call = GraphedLoss(own, 64)
    found = steps(own, call, backbone)
    assert not call._graphs and not call._pays
    assert found.isfinite().all()
    again = losses(on_card(FLOAT32), LORA, asks)
    again.model.to("cuda")
    torch.testing.assert_close(found, steps(again, again, backbone), rtol=1e-3, atol=1e-3)


@on_gpu
def test_on_a_gpu_that_is_busy_there_are_no_graphs(backbone, on_card, monkeypatch):
    monkeypatch.setattr(graphs, "BUSY", 0.0)
    own = losses(on_card(FLOAT32), LORA)
    own.model.to("cuda")
    call = GraphedLoss(own, 64)
    steps(own, call, backbone)
    assert not call._graphs and not call._pays
