"""Full fine-tuning: all weights of a copy are trained, and the shared backbone stays as it is."""

import pytest
import torch

from space.search_space import Learning
from tests.trainers.learnable import LESSONS, backbone_of, module_of
from trainers.engine import FLOAT32
from trainers.fit import fit
from trainers.full import build_full, own_copy
from trainers.scoring import score

FAST = Learning(learning_rate=3e-3, head_learning_rate=1e-2)


def n_outputs_of(lesson, backbone):
    if lesson.task.head == "lm":
        return backbone.n_vocabulary
    return max(1, len(lesson.labels))


def build_own(lesson, backbone):
    own = own_copy(backbone, FLOAT32)
    head = lesson.task.head
    return own, build_full(own, n_outputs_of(lesson, own), 0, pooling="mean", head=head)


def train(lesson, name, backbone, model, epochs=1, learning=FAST):
    data = module_of(name, backbone)
    result = fit(
        model,
        data,
        lesson.task,
        learning,
        labels=lesson.labels,
        scale=lesson.scale,
        epochs=epochs,
        report=lambda _: True,
        tick=lambda *_: None,
        validating=False,
    )
    return data, result


def tensors(backbone):
    parts = {"model": backbone.model, "lm_head": backbone.lm_head}
    return {
        f"{name}.{key}": tensor.clone()
        for name, part in parts.items()
        if part is not None
        for key, tensor in part.state_dict().items()
    }


@pytest.mark.parametrize("name", LESSONS)
def test_every_weight_that_runs_is_trained_and_the_shared_backbone_is_not(tiny_folders, name):
    lesson = LESSONS[name]
    backbone = backbone_of(lesson, tiny_folders)
    before = tensors(backbone)
    _own, model = build_own(lesson, backbone)
    start = {key: tensor.clone() for key, tensor in model.trained_state().items()}
    train(lesson, name, backbone, model)

    changed = {k: v for k, v in model.trained_state().items() if not torch.equal(v, start[k])}
    weights = {key for key, tensor in start.items() if tensor.is_floating_point()}
    assert weights - changed.keys() == set()
    assert any(key.startswith("view.") for key in weights)
    after = tensors(backbone)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_no_tensor_of_a_copy_is_the_shared_ones(tiny_folders):
    backbone = backbone_of(LESSONS["class"], tiny_folders)
    own = own_copy(backbone, FLOAT32)
    shared = {tensor.data_ptr() for tensor in backbone.model.state_dict().values()}
    assert not shared & {tensor.data_ptr() for tensor in own.model.state_dict().values()}
    assert own.fingerprint == backbone.fingerprint


def test_head_and_embedding_of_a_language_model_stay_one_matrix(tiny_folders):
    lesson = LESSONS["next"]
    backbone = backbone_of(lesson, tiny_folders)
    own, model = build_own(lesson, backbone)
    assert own.lm_head.weight is own.model.get_input_embeddings().weight
    parameters = model.trained_parameters()
    assert len({id(parameter) for parameter in parameters}) == len(parameters)
    train(lesson, "next", backbone, model)
    assert own.lm_head.weight is own.model.get_input_embeddings().weight


def test_all_parameters_that_run_are_counted_once(tiny_folders):
    backbone = backbone_of(LESSONS["class"], tiny_folders)
    own, model = build_own(LESSONS["class"], backbone)
    unused = own.family.unused
    running = [
        parameter.numel()
        for name, parameter in own.model.named_parameters()
        if not any(name.startswith(f"{part}.") for part in unused)
    ]
    head = sum(parameter.numel() for parameter in model.head.parameters())
    assert sum(p.numel() for p in model.trained_parameters()) == sum(running) + head


def test_a_backbone_in_training_has_dropout_and_a_frozen_one_has_not(tiny_folders):
    backbone = backbone_of(LESSONS["class"], tiny_folders)
    _, model = build_own(LESSONS["class"], backbone)
    dropouts = [m for m in model.view.modules() if isinstance(m, torch.nn.Dropout)]
    assert dropouts
    model.train()
    assert all(module.training for module in dropouts)
    model.eval()
    assert not any(module.training for module in dropouts)
    assert not any(module.training for module in backbone.model.modules())


def test_it_learns_and_no_row_is_looked_at_but_those_of_training(tiny_folders):
    lesson = LESSONS["class"]
    backbone = backbone_of(lesson, tiny_folders)
    _, model = build_own(lesson, backbone)
    data, result = train(lesson, "class", backbone, model, epochs=20)
    assert result.history == () and result.metrics.keys() == {"train_s", "peak_memory_mib"}
    scores = score(
        model,
        data._validation,
        lesson.task,
        labels=lesson.labels,
        scale=None,
        engine=FLOAT32,
        batch_size=16,
    )
    assert scores.metrics["accuracy"] > 0.9
