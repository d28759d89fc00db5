"""A model that runs from a block on gives what it gives when it runs whole."""

import pytest
import torch

from space.spec import AdapterSpec
from tests.trainers.explain.bundles import adapter
from tests.trainers.tiny import fill_randomly, random_batch
from trainers.explain.running import FromBlock, answers_of, blocks_of
from trainers.gathering import hidden_of
from trainers.model import build


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_from_any_block_on(tiny_any, layer):
    spec = AdapterSpec(
        depth=3,
        adapters=(adapter(0, "value", "lora"), adapter(2, "ffn", "bottleneck", experts=2)),
        exits=(1, 2),
    )
    model = fill_randomly(build(tiny_any, spec, 3, seed=0))
    if tiny_any.image is not None:
        size = (3, tiny_any.image.n_channels, *tiny_any.image.size)
        inputs = {"pixel_values": torch.randn(size, generator=torch.Generator().manual_seed(0))}
    else:
        ids, mask = random_batch(3, 7)
        inputs = {"input_ids": ids, "attention_mask": mask}
    below = {}
    hooks = [
        block.register_forward_hook(
            lambda _m, _a, out, n=number: below.__setitem__(n, hidden_of(out))
        )
        for number, block in enumerate(blocks_of(model, tiny_any), 1)
    ]
    with torch.no_grad():
        whole = answers_of(model, inputs)
        for hook in hooks:
            hook.remove()
        part = FromBlock(model, tiny_any, layer)(inputs, below)
    assert list(whole) == [1, 2, 3]
    assert sorted(part) == [depth for depth in whole if depth > layer]
    for depth, logits in part.items():
        torch.testing.assert_close(logits, whole[depth], atol=1e-5, rtol=1e-4)


def test_the_blocks_below_do_not_run(tiny_bert):
    model = build(tiny_bert, AdapterSpec(depth=3), 2, seed=0)
    ids, mask = random_batch(2, 5)
    inputs = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        given = torch.randn(2, 5, tiny_bert.shape.width)
        run = FromBlock(model, tiny_bert, 2)
        run(inputs, {2: given})  # sees once what a block returns beside hidden states
        ran = []
        for number, block in enumerate(blocks_of(model, tiny_bert)):
            block.register_forward_hook(lambda *_, n=number: ran.append(n))
        run(inputs, {2: given})
    for block in blocks_of(model, tiny_bert):
        block._forward_hooks.clear()
    assert ran == [2]
