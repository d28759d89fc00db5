"""A model that is given boundaries of its frozen prefix answers as one that runs all its blocks."""

import pytest
import torch

from space.adapter import Adapter
from space.spec import AdapterSpec
from tests.trainers.test_contract import inputs_of
from tests.trainers.test_skipping import hidden_behind
from tests.trainers.tiny import fill_randomly
from trainers.model import build
from trainers.passing import is_skipped


def lora(layer, role="query"):
    return Adapter(layer=layer, role=role, kind="lora", rank=2, alpha=4.0)


def boundaries_of(backbone, inputs, wanted):
    return {boundary: hidden_behind(backbone, boundary, inputs) for boundary in wanted}


def blocks_run(model, backbone, inputs, known):
    """Return the frozen blocks that really ran (the embeddings are -1), and the answer."""
    ran = []
    blocks = backbone.model.get_submodule(backbone.family.blocks)
    hooks = [
        block.register_forward_pre_hook(lambda _m, args, i=i: ran.append((i, args[0].shape[0])))
        for i, block in enumerate(blocks)
    ]
    if backbone.family.embeddings:
        embeddings = backbone.model.get_submodule(backbone.family.embeddings)
        hooks.append(embeddings.register_forward_pre_hook(lambda *_: ran.append((-1, 0))))
    with torch.no_grad():
        answer = model.forward_exits(boundaries=known, **inputs)
    for hook in hooks:
        hook.remove()
    return ran, answer


def close(one, other):
    return all(torch.allclose(a, b, atol=1e-5, rtol=1e-5) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_every_family_answers_alike_from_every_cut(tiny_any, cut):
    adapters = () if cut == 3 else (lora(cut, tiny_any.shape.roles[0]),)
    spec = AdapterSpec(depth=3, adapters=adapters, pooling="mean")
    model = fill_randomly(build(tiny_any, spec, 3, seed=0), seed=3, spread=0.3)
    inputs = inputs_of(tiny_any)
    with torch.no_grad():
        whole = model.forward_exits(**inputs)
        model.forward_exits(boundaries=boundaries_of(tiny_any, inputs, (cut,)), **inputs)
    known = boundaries_of(tiny_any, inputs, (cut,))
    ran, answer = blocks_run(model, tiny_any, inputs, known)
    assert close(answer, whole)
    n_rows = len(next(iter(inputs.values())))
    # T5's first block makes a position bias for all others, from one row.
    below = [(i, rows) for i, rows in ran if i < cut and rows == n_rows and n_rows > 1]
    assert below == []
    assert -1 not in [i for i, _ in ran]
    assert [i for i, _ in ran if i >= cut] == list(range(cut, 3))


def test_exits_below_the_cut_read_their_own_boundary(tiny_bert):
    spec = AdapterSpec(depth=4, adapters=(lora(3),), exits=(1, 2))
    model = fill_randomly(build(tiny_bert, spec, 3, seed=0), seed=3, spread=0.3)
    inputs = inputs_of(tiny_bert)
    with torch.no_grad():
        whole = model.forward_exits(**inputs)
    assert spec.boundaries == (1, 2, 3)
    known = boundaries_of(tiny_bert, inputs, spec.boundaries)
    blocks_run(model, tiny_bert, inputs, known)  # what a block returns beside is seen once
    ran, answer = blocks_run(model, tiny_bert, inputs, known)
    assert len(answer) == 3 and close(answer, whole)
    assert [i for i, _ in ran] == [3]


def test_a_head_with_exits_runs_no_block(tiny_bert):
    spec = AdapterSpec(depth=3, exits=(1, 2))
    model = fill_randomly(build(tiny_bert, spec, 3, seed=0), seed=3, spread=0.3)
    inputs = inputs_of(tiny_bert)
    with torch.no_grad():
        whole = model.forward_exits(**inputs)
    known = boundaries_of(tiny_bert, inputs, spec.boundaries)
    ran, answer = blocks_run(model, tiny_bert, inputs, known)
    assert ran == [] and close(answer, whole)


def test_from_a_lower_boundary_the_blocks_between_run(tiny_bert):
    spec = AdapterSpec(depth=4, adapters=(lora(3),))
    model = fill_randomly(build(tiny_bert, spec, 3, seed=0), seed=3, spread=0.3)
    inputs = inputs_of(tiny_bert)
    known = boundaries_of(tiny_bert, inputs, (1,))
    with torch.no_grad():
        whole = model.forward_exits(**inputs)
        model.forward_exits(boundaries=known, **inputs)
    ran, answer = blocks_run(model, tiny_bert, inputs, known)
    assert [i for i, _ in ran] == [1, 2, 3] and close(answer, whole)


def test_a_boundary_above_a_trained_block_is_refused(tiny_bert):
    model = build(tiny_bert, AdapterSpec(depth=3, adapters=(lora(1),)), 3, seed=0)
    inputs = inputs_of(tiny_bert)
    known = boundaries_of(tiny_bert, inputs, (2,))
    with pytest.raises(ValueError, match="block 1 of this structure is trained"):
        model(boundaries=known, **inputs)


@pytest.mark.parametrize(
    ("layer", "known", "read", "expected"),
    [
        (0, (2,), (2,), True),
        (1, (2,), (2,), True),
        (0, (2,), (1, 2), False),  # something reads boundary 1
        (1, (2,), (1, 2), True),
        (1, (1,), (3,), False),
        (0, (1,), (3,), True),
        (0, (), (3,), False),
        (2, (1, 4), (4,), True),
    ],
)
def test_a_block_is_skipped_where_nothing_needs_it(layer, known, read, expected):
    assert is_skipped(layer, dict.fromkeys(known), read) is expected


def test_no_gradient_reaches_the_prefix(tiny_any):
    role = tiny_any.shape.roles[0]
    spec = AdapterSpec(depth=3, adapters=(lora(2, role),))
    model = fill_randomly(build(tiny_any, spec, 3, seed=0), seed=3, spread=0.3)
    inputs = inputs_of(tiny_any)
    grads = []
    for known in (None, boundaries_of(tiny_any, inputs, (2,))):
        model.zero_grad()
        model(boundaries=known, **inputs).sum().backward()
        grads.append([p.grad.clone() for p in model.trained_parameters()])
    assert close(*grads)
