"""Poolings against what they are by hand."""

import math

import pytest
import torch

from space.spec import POOLINGS
from trainers.pooling import AttentionPooling, build_pooling

HIDDEN = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, -100.0]], [[4.0, 0.0], [9.0, 9.0], [0, 0]]])
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", [[2.0, 4.0], [4.0, 0.0]]),
        ("cls", [[1.0, 2.0], [4.0, 0.0]]),
        ("attention", [[2.0, 4.0], [4.0, 0.0]]),
        ("last", [[3.0, 6.0], [4.0, 0.0]]),
    ],
)
def test_pools_the_real_tokens(name, expected):
    torch.testing.assert_close(build_pooling(name, 2)(HIDDEN, MASK), torch.tensor(expected))


def test_a_filled_query_weighs_tokens_by_their_score():
    pooling = AttentionPooling(2)
    with torch.no_grad():
        pooling.query.copy_(torch.tensor([1.0, 0.5]))
        found = pooling(HIDDEN, MASK)
    first, second = (math.exp(score / math.sqrt(2)) for score in (2.0, 6.0))
    share = first / (first + second)
    expected = share * HIDDEN[0, 0] + (1 - share) * HIDDEN[0, 1]
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[1], HIDDEN[1, 0])


def test_every_pooling_of_a_structure_can_be_built():
    pooled = [name for name in POOLINGS if name != "none"]
    assert len({type(build_pooling(name, 4)) for name in pooled}) == len(pooled)
