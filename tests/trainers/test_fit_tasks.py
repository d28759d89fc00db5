"""Training of every task, and of what a structure may have: exits, experts, prefixes, nothing."""

from dataclasses import replace

import pytest
import torch

from space.adapter import Adapter
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.trainers.learnable import LESSONS, backbone_of, module_of
from tests.trainers.tiny import adapter, structure
from trainers import steps
from trainers.bundle import n_outputs
from trainers.fit import fit
from trainers.losses import loss_of
from trainers.model import build
from trainers.steps import WEIGHT_DECAY, parameter_groups

LEARNING = Learning(learning_rate=0.02, head_learning_rate=0.02)
STILL = Learning(learning_rate=0.0, head_learning_rate=0.0)


def built(name, folders, spec):
    lesson = LESSONS[name]
    backbone = backbone_of(lesson, folders)
    width = n_outputs(lesson.task, lesson.labels, backbone)
    return build(backbone, spec, width, seed=0, head=lesson.task.head), backbone


def train(name, folders, spec, *, learning=LEARNING, epochs=3, report=lambda _: True, n_rows=96):
    model, backbone = built(name, folders, spec)
    return model, backbone, run(name, model, backbone, learning, epochs, report, n_rows)


def run(name, model, backbone, learning, epochs, report=lambda _: True, n_rows=96):
    lesson = LESSONS[name]
    return fit(
        model,
        module_of(name, backbone, n_rows),
        lesson.task,
        learning,
        labels=lesson.labels,
        scale=lesson.scale,
        epochs=epochs,
        report=report,
        tick=lambda done, steps: None,
    )


def all_roles(name):
    pooling = "mean" if LESSONS[name].task.head == "sequence" else "none"
    served = {"query": "lora", "value": "lora", "ffn": "parallel"}
    return structure(2, (0, 1), served, pooling=pooling)


@pytest.mark.parametrize(
    ("name", "metric", "least"),
    [
        ("class", "accuracy", 0.8),
        ("pair", "accuracy", 0.8),
        ("classes", "micro_f1", 0.75),
        ("number", "pearson", 0.8),
        ("tags", "entity_f1", 0.8),
        ("image", "accuracy", 0.9),
        ("next", "token_accuracy", 0.7),
    ],
)
def test_every_task_is_learned(tiny_folders, name, metric, least):
    model, _, result = train(name, tiny_folders, all_roles(name), epochs=6, n_rows=192)
    losses = [epoch.metrics["train_loss"] for epoch in result.history]
    assert losses[-1] < 0.7 * losses[0]
    assert result.metrics["validation_loss"] < 0.8 * losses[0]
    assert result.metrics[metric] > least
    assert set(LESSONS[name].task.metrics) < result.metrics.keys()
    assert (result.exits, result.routing) == (None, ())
    assert not (model.training or model.adapters.training or model.head.training)


def heads_on_validation(model, module):
    """Return the logits of all heads, and the labels, in the order of the validation batches."""
    answers, labels = [], []
    with torch.no_grad():
        for batch in module.val_dataloader():
            answers.append(model.forward_exits(**batch.inputs))
            labels.append(batch.labels)
    return [torch.cat(parts) for parts in zip(*answers, strict=True)], torch.cat(labels)


@pytest.mark.parametrize("name", ["class", "classes"])
def test_exits_answer_for_the_validation_rows(tiny_folders, name):
    spec = AdapterSpec(depth=3, adapters=(adapter(0, "query", "lora"),), exits=(1, 2))
    model, backbone, result = train(name, tiny_folders, spec, epochs=2)
    expected, labels = heads_on_validation(model, module_of(name, backbone))
    assert len(result.exits.logits) == 3
    for own, right in zip(result.exits.logits, expected, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-5)
        assert own.dtype == torch.float32
    assert torch.equal(result.exits.labels, labels)
    loss = loss_of(LESSONS[name].task)(expected[-1], labels).item()
    assert result.metrics["validation_loss"] == pytest.approx(loss, rel=1e-5)


def test_the_loss_is_the_mean_over_all_heads_and_all_are_trained(tiny_folders):
    spec = AdapterSpec(depth=3, adapters=(adapter(0, "query", "lora"),), exits=(1,))
    model, backbone, result = train("class", tiny_folders, spec, learning=STILL, epochs=1)
    module, task = module_of("class", backbone), LESSONS["class"].task
    losses = []
    with torch.no_grad():
        for batch in module.train_dataloader():
            losses += [loss_of(task)(a, batch.labels) for a in model.forward_exits(**batch.inputs)]
    assert result.metrics["train_loss"] == pytest.approx(torch.stack(losses).mean().item())
    before = {name: t.clone() for name, t in model.trained_state().items()}
    run("class", model, backbone, LEARNING, 1)
    changed = {
        name for name, t in model.trained_state().items() if not torch.equal(t, before[name])
    }
    assert {"exits.1.linear.weight", "head.linear.weight", "adapters.0.query.up"} <= changed


def experts(kind="parallel", role="ffn"):
    return replace(adapter(1, role, kind), experts=4, top_k=2, router="token")


def test_the_loss_of_balance_moves_routers_and_is_not_told_as_the_loss(tiny_folders, monkeypatch):
    spec = AdapterSpec(depth=2, adapters=(experts(),))
    _, _, first = train("class", tiny_folders, spec, learning=STILL, epochs=1)
    routers = {}
    for weight in (0.0, 0.01, 10.0):
        monkeypatch.setattr(steps, "BALANCE_WEIGHT", weight)
        model, _, _ = train("class", tiny_folders, spec, epochs=1)
        router = model.adapters.get_submodule("1.ffn.experts.router")
        routers[weight] = router.weight.detach().clone()
        _, _, still = train("class", tiny_folders, spec, learning=STILL, epochs=1)
        assert still.metrics["train_loss"] == first.metrics["train_loss"]
    assert not torch.equal(routers[0.0], routers[0.01])
    assert not torch.equal(routers[0.01], routers[10.0])


def test_routing_is_that_of_the_last_validation(tiny_folders):
    spec = AdapterSpec(depth=2, adapters=(experts(),))
    model, backbone, result = train("class", tiny_folders, spec, epochs=2)
    (told,) = result.routing
    assert (told["layer"], told["role"]) == (1, "ffn")
    model.reset_routing()
    heads_on_validation(model, module_of("class", backbone))
    (own,) = model.routing()
    assert told.keys() == own.keys()
    assert told["load"] == pytest.approx(own["load"])
    assert told["entropy"] == pytest.approx(own["entropy"])


def test_prefixes_are_let_in_by_a_tenth_of_the_steps_and_for_validation(tiny_folders):
    spec = AdapterSpec(
        depth=2, adapters=(Adapter(layer=0, role="attention", kind="prefix", rank=3),)
    )
    model, backbone = built("class", tiny_folders, spec)
    shares, passes = [], []
    gate = model.adapters.get_submodule("0.attention").gate

    def step(module, args, kwargs):
        (shares if module.training else passes).append(round(float(gate), 6))

    model.view.register_forward_pre_hook(
        lambda module, args, kwargs: step(model, args, kwargs), with_kwargs=True
    )
    run("class", model, backbone, LEARNING, 5)  # 30 steps, of which 3 are for the warm-up
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0] + [1.0] * 27, abs=1e-5)
    assert set(passes) == {1.0}
    shares.clear()
    run("class", model, backbone, LEARNING, 20)  # 120 steps: 12 for the warm-up, over two epochs
    assert shares[:13] == pytest.approx([*(k / 12 for k in range(1, 13)), 1.0], abs=1e-5)
    assert set(passes) == {1.0}


def test_biases_and_scales_do_not_decay(tiny_folders):
    spec = AdapterSpec(
        depth=2,
        adapters=(
            experts(),
            experts("bottleneck", "attention"),
            Adapter(layer=0, role="key", kind="ia3"),
            adapter(0, "query", "lora"),
        ),
    )
    model, _ = built("class", tiny_folders, spec)
    own = {
        id(p): name
        for part in ("adapters", "head")
        for name, p in getattr(model, part).named_parameters(prefix=part)
    }
    groups = parameter_groups(model, LEARNING)
    decay = {own[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert decay.keys() == set(own.values())
    assert sum(len(group["params"]) for group in groups) == len(own)
    free = {name for name, value in decay.items() if value == 0}
    assert free == {name for name in decay if name.endswith(("bias", "scale"))}
    assert {"adapters.0.key.scale", "adapters.1.ffn.experts.down_bias", "head.linear.bias"} <= free
    assert {decay[name] for name in decay.keys() - free} == {WEIGHT_DECAY}


def test_a_language_model_as_it_is_is_validated_once(tiny_folders):
    told = []
    model, _, result = train(
        "next",
        tiny_folders,
        AdapterSpec(depth=4, pooling="none"),
        learning=Learning(learning_rate=None, head_learning_rate=0.1),
        report=lambda epoch: told.append(epoch) or False,
    )
    assert model.trained_parameters() == []
    assert [epoch.epoch for epoch in told] == [1] and not result.stopped
    assert result.metrics["perplexity"] > 1 and "train_loss" not in result.metrics
    assert result.metrics["train_s"] >= told[0].metrics["epoch_s"] > 0
