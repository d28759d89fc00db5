"""What is seen of a model while it runs: on each known family it is what the table says."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trainers.probe import ProbeError, probe


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, hidden):
        return hidden + self.linear(hidden)


class Model(nn.Module):
    """Three blocks; `run` says how they are called."""

    def __init__(self, run) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.norm_before = nn.LayerNorm(4)
        self.norm = nn.LayerNorm(4)
        self.norm.weight.data.fill_(3.0)
        self.layers = nn.ModuleList(Block() for _ in range(3))
        self.run = run

    def forward(self, input_ids, attention_mask):
        return (self.run(self, self.embed(input_ids)),)


def in_order(model, hidden):
    for block in model.layers:
        hidden = block(hidden)
    return hidden


def twice(model, hidden):
    return in_order(model, in_order(model, hidden))


def backwards(model, hidden):
    for block in reversed(model.layers):
        hidden = block(hidden)
    return hidden


def by_name(model, hidden):
    for block in model.layers:
        hidden = block(hidden=hidden)
    return hidden


def by_number(model, hidden):
    for i in range(3):
        hidden = model.layers[i](hidden)
    return hidden


def seen(run):
    torch.manual_seed(0)
    return probe(Model(run), "layers", None)


def test_it_sees_of_each_known_family_what_the_table_says(tiny_any):
    family = tiny_any.family
    found = probe(tiny_any.model, family.blocks, tiny_any.image)
    assert found.final_norm == family.final_norm
    assert found.unused == family.unused
    if tiny_any.image is None:
        assert found.causal == family.causal
    else:
        assert found.n_tokens == tiny_any.image.n_tokens


def test_the_norm_is_the_one_that_runs_wherever_it_stands():
    assert seen(in_order).final_norm == ""
    assert seen(lambda model, hidden: model.norm(in_order(model, hidden))).final_norm == "norm"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (twice, r"3 blocks run in the order \[0, 1, 2, 0, 1, 2\], where each has to run once"),
        (backwards, r"in the order \[2, 1, 0\]"),
        (by_name, "do not take hidden states as their first argument"),
        (by_number, r"not with fewer blocks \(IndexError"),
        (lambda model, hidden: 2 * in_order(model, hidden), "is no single norm"),
        (lambda model, hidden: hidden.gone, "does not run on token ids alone"),
    ],
)
def test_what_does_not_run_block_after_block_is_told(run, message):
    with pytest.raises(ProbeError, match=message):
        seen(run)


def test_an_image_is_of_the_size_that_is_read():
    sizes = []

    def forward(pixel_values):
        sizes.append(tuple(pixel_values.shape))
        raise ValueError("enough")

    model = nn.Module()
    model.layers = nn.ModuleList([Block()])
    model.forward = forward
    with pytest.raises(ProbeError, match="does not run on pixels alone"):
        probe(model, "layers", SimpleNamespace(n_channels=3, size=(8, 4)))
    assert sizes == [(1, 3, 8, 4)]
