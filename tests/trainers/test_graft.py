"""A view of a model: other sub-modules, the same weights, the model untouched."""

import pytest
import torch
from torch import nn

from trainers.graft import graft


@pytest.fixture
def model():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    return nn.Sequential(inner, nn.Linear(3, 2))


def test_replaces_in_the_view_alone(model):
    x = torch.randn(2, 3)
    before = model(x)
    new = nn.Linear(3, 3)
    view = graft(model, {"0.1": new})
    assert torch.equal(view(x), model[1](new(model[0][0](x))))
    assert torch.equal(model(x), before)
    assert view[0][1] is new and model[0][1] is not new


def test_shares_all_else(model):
    view = graft(model, {"0.1": nn.Identity()})
    assert view[0][0] is model[0][0]
    assert view[1] is model[1]


def test_takes_out_what_is_none(model):
    view = graft(model, {"1": None})
    assert view[1] is None
    assert model[1] is not None


def test_two_replacements_in_one_part_are_both_made(model):
    first, second = nn.Identity(), nn.Identity()
    view = graft(model, {"0.0": first, "0.1": second})
    assert view[0][0] is first and view[0][1] is second


@pytest.mark.parametrize("path", ["2", "0.7", "nothing.here"])
def test_a_path_to_nothing_is_an_error(model, path):
    with pytest.raises(KeyError, match="has no sub-module"):
        graft(model, {path: nn.Identity()})


def test_a_path_through_nothing_is_an_error(model):
    with pytest.raises(KeyError, match="has nothing at '1'"):
        graft(graft(model, {"1": None}), {"1.weight": nn.Identity()})
