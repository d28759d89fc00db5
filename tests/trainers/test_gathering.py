"""A block's arguments are cut to the part of the rows or tokens that it runs on."""

import pytest
import torch

from trainers.gathering import padded_mask, take_rows, take_tokens

INDEX = torch.tensor([[0, 2], [1, 3]])


def test_a_mask_is_cut_along_queries_and_keys():
    mask = torch.arange(2 * 1 * 4 * 4).float().view(2, 1, 4, 4)
    cut = take_tokens(INDEX, 4)("attention_mask", mask)
    for row in range(2):
        assert torch.equal(cut[row, 0], mask[row, 0][INDEX[row]][:, INDEX[row]])


def test_what_is_alike_for_all_rows_is_spread_first():
    bias = torch.arange(1 * 3 * 4 * 4).float().view(1, 3, 4, 4)
    cut = take_tokens(INDEX, 4)("position_bias", bias)
    assert torch.equal(cut[1, 2], bias[0, 2][INDEX[1]][:, INDEX[1]])
    angles = torch.arange(8).float().view(1, 4, 2)
    assert torch.equal(take_tokens(INDEX, 4)("position_embeddings", angles)[1], angles[0, [1, 3]])


def test_a_mask_over_keys_alone_keeps_its_one_query():
    mask = torch.arange(8).float().view(2, 1, 1, 4)
    assert torch.equal(
        take_tokens(INDEX, 4)("attention_mask", mask)[1, 0, 0], mask[1, 0, 0, [1, 3]]
    )


def test_rows_are_cut_and_what_has_one_row_is_left():
    rows = torch.tensor([1])
    mask = torch.arange(8).view(2, 4)
    assert torch.equal(take_rows(rows, 2)("position_ids", mask), mask[1:])
    assert take_rows(rows, 2)("position_ids", mask[:1]).shape == (1, 4)


@pytest.mark.parametrize("change", [take_rows(torch.tensor([1]), 2), take_tokens(INDEX, 4)])
def test_an_argument_that_is_not_known_is_refused(change):
    with pytest.raises(RuntimeError, match="'hints'"):
        change("hints", torch.zeros(2, 4))


def test_filling_is_seen_by_no_token():
    valid = torch.tensor([[True, False]])
    additive = padded_mask(torch.zeros(1, 1, 2, 2), valid)
    assert (additive.softmax(-1) == torch.tensor([1.0, 0.0])).all()
    boolean = padded_mask(torch.ones(1, 1, 2, 2, dtype=torch.bool), valid)
    assert boolean.tolist() == [[[[True, False], [True, False]]]]
