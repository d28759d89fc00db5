"""Training: it learns, it repeats itself, and each way to end it early is told apart."""

import random
import time

import numpy
import pytest
import torch

from space.errors import TrialError
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.trainers.tiny import FILLERS, WORDS, everywhere, structure
from trainers import fit as fit_module
from trainers.backbone import fingerprint
from trainers.data import Split, StudyDataModule, encode
from trainers.fit import fit
from trainers.model import build
from trainers.steps import schedule_factor
from trainers.tasks import TASKS

N_ROWS = 96
BATCH_SIZE = 16
STEPS_AN_EPOCH = N_ROWS // BATCH_SIZE
LEARNING = Learning(learning_rate=0.01, head_learning_rate=0.02)
TASK = TASKS["text-classification"]


def separable(n_rows, seed):
    """Return texts of filler words with one word that tells the label."""
    generator = random.Random(seed)
    texts, labels = [], []
    for row in range(n_rows):
        label = row % 2
        words = generator.choices(FILLERS, k=generator.randint(2, 8))
        words.insert(0, generator.choice(list(WORDS.values())[label]))
        generator.shuffle(words)
        texts.append(" ".join(words))
        labels.append(label)
    return Split(inputs={"text": tuple(texts)}, labels=numpy.array(labels, dtype=numpy.int64))


def data_of(backbone, n_rows):
    return StudyDataModule(
        train=encode(separable(n_rows, 0), TASK, backbone, 16),
        validation=encode(separable(64, 1), TASK, backbone, 16),
        batch_size=BATCH_SIZE,
        validation_factor=4,
        seed=0,
    )


@pytest.fixture
def data(tiny_bert):
    return data_of(tiny_bert, N_ROWS)


def go_on(epoch):
    return True


def ignore(n_done, n_steps):
    pass


def train(backbone, data, spec=None, **changes):
    if spec is None:
        spec = everywhere(backbone.shape, "parallel", 3, "mean")
    model = build(backbone, spec, 2, seed=0)
    options = {"epochs": 3, "report": go_on, "tick": ignore, **changes}
    learning = options.pop("learning", LEARNING)
    labels = ("fruit", "tool")
    return model, fit(model, data, TASK, learning, labels=labels, scale=None, **options)


def without_times(metrics):
    return {k: v for k, v in metrics.items() if not k.endswith("_s") and k != "peak_memory_mib"}


def test_a_study_of_separable_texts_is_learned(tiny_bert):
    spec = everywhere(tiny_bert.shape, "parallel", 1, "mean")
    _, result = train(tiny_bert, data_of(tiny_bert, 256), spec, epochs=6)
    losses = [epoch.metrics["train_loss"] for epoch in result.history]
    assert losses[-1] < 0.6 * losses[0]
    assert result.metrics["accuracy"] > 0.85
    assert result.metrics["macro_f1"] > 0.85
    assert not result.stopped


def test_a_head_alone_trains_without_a_learning_rate_of_adapters(tiny_bert, data):
    model, result = train(
        tiny_bert,
        data,
        AdapterSpec(depth=2, pooling="attention"),
        learning=Learning(learning_rate=None, head_learning_rate=0.05),
        epochs=4,
    )
    losses = [epoch.metrics["train_loss"] for epoch in result.history]
    assert losses[-1] < losses[0]
    assert model.head.pooling.query.abs().max() > 0


@pytest.mark.parametrize("kind", ["bottleneck", "parallel"])
def test_same_seed_gives_the_same_bits(tiny_bert, data, kind):
    spec = everywhere(tiny_bert.shape, kind, 4, "attention")
    torch.manual_seed(1)
    first_model, first = train(tiny_bert, data, spec, epochs=2)
    torch.manual_seed(2)
    second_model, second = train(tiny_bert, data, spec, epochs=2)
    assert without_times(first.metrics) == without_times(second.metrics)
    weights = second_model.trained_state()
    assert all(torch.equal(t, weights[name]) for name, t in first_model.trained_state().items())


def test_training_leaves_the_backbone_bit_equal_and_in_eval_mode(tiny_bert, data):
    model, _ = train(tiny_bert, data, epochs=1)
    assert fingerprint(tiny_bert.model, tiny_bert.family.unused) == tiny_bert.fingerprint
    assert not any(module.training for module in tiny_bert.model.modules())
    assert not any(p.requires_grad for p in tiny_bert.model.parameters())
    assert all(torch.isfinite(p).all() for p in model.trained_parameters())


def test_adapters_and_head_have_their_own_learning_rates(tiny_bert, data):
    spec = structure(2, (0, 1), {"query": "lora"})
    start = build(tiny_bert, spec, 2, seed=0).trained_state()
    still = Learning(learning_rate=0.0, head_learning_rate=0.02)
    model, _ = train(tiny_bert, data, spec, learning=still, epochs=1)
    for name, tensor in model.trained_state().items():
        assert torch.equal(tensor, start[name]) == name.startswith("adapters."), name


def test_history_has_one_entry_an_epoch(tiny_bert, data):
    told = []
    before = time.time_ns() // 10**6

    def report(epoch):
        told.append(epoch)
        return True

    _, result = train(tiny_bert, data, report=report)
    assert result.history == tuple(told)
    assert [epoch.epoch for epoch in told] == [1, 2, 3]
    times = [before, *(epoch.time_ms for epoch in told), time.time_ns() // 10**6]
    assert times == sorted(times)
    keys = {"accuracy", "macro_f1", "validation_loss", "train_loss", "epoch_s"}
    assert all(epoch.metrics.keys() == keys for epoch in told)
    assert told[0].to_dict() == {"epoch": 1, "time_ms": told[0].time_ms, **told[0].metrics}
    assert result.metrics.keys() == keys | {"train_s", "peak_memory_mib"}
    assert result.metrics["train_s"] >= sum(epoch.metrics["epoch_s"] for epoch in told)
    assert result.metrics["accuracy"] == told[-1].metrics["accuracy"]


def test_metrics_are_those_of_the_model_that_is_returned(tiny_bert, data):
    model, result = train(tiny_bert, data, epochs=2)
    right = n_rows = 0
    with torch.no_grad():
        for batch in data.val_dataloader():
            predicted = model(**batch.inputs).argmax(-1)
            right += (predicted == batch.labels).sum().item()
            n_rows += len(batch.labels)
    assert result.metrics["accuracy"] == pytest.approx(right / n_rows)


def test_a_report_of_false_stops_it(tiny_bert, data):
    ticks = []
    _, result = train(
        tiny_bert,
        data,
        epochs=5,
        report=lambda epoch: epoch.epoch < 2,
        tick=lambda done, steps: ticks.append((done, steps)),
    )
    assert result.stopped
    assert [epoch.epoch for epoch in result.history] == [1, 2]
    assert ticks[-1] == (2 * STEPS_AN_EPOCH, 5 * STEPS_AN_EPOCH)
    assert result.metrics["accuracy"] == result.history[-1].metrics["accuracy"]


def test_a_report_of_false_in_the_last_epoch_is_no_stop(tiny_bert, data):
    _, result = train(tiny_bert, data, epochs=1, report=lambda epoch: False)
    assert not result.stopped
    assert len(result.history) == 1


def test_ticks_rise_to_the_number_of_all_steps(tiny_bert, data):
    ticks = []
    train(tiny_bert, data, epochs=2, tick=lambda done, steps: ticks.append((done, steps)))
    n_steps = 2 * STEPS_AN_EPOCH
    assert {steps for _, steps in ticks} == {n_steps}
    done = [done for done, _ in ticks]
    assert done == sorted(done)
    assert sorted(set(done)) == list(range(1, n_steps + 1))


class Wish(Exception):
    """What a caller raises to end a training."""


@pytest.mark.parametrize("error", [Wish, OSError])
def test_an_exception_from_tick_passes_through_unchanged(tiny_bert, data, error):
    raised = error("enough")

    def tick(n_done, n_steps):
        if n_done == 3:
            raise raised

    with pytest.raises(error) as caught:
        train(tiny_bert, data, tick=tick)
    assert caught.value is raised


def test_an_exception_from_report_passes_through_unchanged(tiny_bert, data):
    raised = Wish("enough")

    def report(epoch):
        raise raised

    with pytest.raises(Wish) as caught:
        train(tiny_bert, data, report=report)
    assert caught.value is raised


def test_a_training_after_an_ended_one_is_as_if_it_were_the_first(tiny_bert, data):
    _, expected = train(tiny_bert, data, epochs=1)

    def tick(n_done, n_steps):
        raise Wish

    with pytest.raises(Wish):
        train(tiny_bert, data, tick=tick)
    _, result = train(tiny_bert, data, epochs=1)
    assert without_times(result.metrics) == without_times(expected.metrics)


@pytest.mark.parametrize("rate", [1e30, float("inf")])
def test_a_loss_that_is_not_finite_fails_the_trial(tiny_bert, data, rate):
    wild = Learning(learning_rate=rate, head_learning_rate=0.02)
    with pytest.raises(TrialError, match=r"loss became (nan|inf) at step \d; the learning rate"):
        train(tiny_bert, data, learning=wild)


class BrokenMeter:
    """What weights give that broke in the last step."""

    def update(self, logits, labels):
        pass

    def compute(self):
        return {"accuracy": 0.5, "macro_f1": 0.3, "validation_loss": float("nan")}


def test_weights_that_break_in_the_last_step_fail_the_trial(tiny_bert, data, monkeypatch):
    monkeypatch.setattr(fit_module, "meter_of", lambda *_: BrokenMeter())
    with pytest.raises(TrialError, match="validation loss became nan at step 6"):
        train(tiny_bert, data, epochs=1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError("nothing left"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_no_memory_left_fails_the_trial(tiny_bert, data, error):
    def tick(n_done, n_steps):
        raise error

    with pytest.raises(TrialError, match="no memory left"):
        train(tiny_bert, data, tick=tick)


def test_any_other_runtime_error_is_a_fault_of_ours(tiny_bert, data):
    def tick(n_done, n_steps):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(tiny_bert, data, tick=tick)


def test_peak_memory_is_of_this_training_alone(tiny_bert, data):
    _, before = train(tiny_bert, data, epochs=1)
    ballast = torch.ones(96 * 2**20 // 4)
    ballast += 1
    _, beside = train(tiny_bert, data, epochs=1)
    del ballast
    _, after = train(tiny_bert, data, epochs=1)
    peaks = [result.metrics["peak_memory_mib"] for result in (before, beside, after)]
    assert min(peaks) > 10
    assert peaks[1] > peaks[0] + 60
    assert peaks[2] < peaks[1] - 60


def test_the_rate_warms_up_over_a_tenth_and_then_decays_to_zero():
    rates = [schedule_factor(step, 50) for step in range(51)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[27] == pytest.approx(23 / 45)
    assert rates[50] == 0.0
    assert rates[49] > 0
    assert schedule_factor(0, 1) == 1.0
