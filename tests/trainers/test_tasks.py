"""The table of tasks, and the losses against plain torch."""

import pytest
import torch
from torch.nn import functional

from trainers import losses as losses_module
from trainers.losses import loss_of, next_token_sums
from trainers.tasks import IGNORED, TASKS, task_of

LABELS = ("class", "classes", "number", "tags", "none")


@pytest.mark.parametrize("name", TASKS)
def test_every_entry_is_whole(name):
    task = TASKS[name]
    assert task.name == name and task_of(name) is task
    assert task.head in ("sequence", "token", "lm")
    assert task.labels in LABELS
    assert set(task.inputs) <= {"text", "text_pair", "words", "image"}
    assert "validation_loss" in task.metrics


def test_the_kinds_of_labels_are_all_served():
    several = task_of("text-classification", label_separator=";")
    assert {task.labels for task in (*TASKS.values(), several)} == set(LABELS)


def test_a_separator_of_labels_makes_a_text_have_several():
    task = task_of("text-classification", label_separator="|")
    assert (task.name, task.labels, task.multi_label) == ("text-classification", "classes", True)
    assert task.metrics[0] == "micro_f1"
    assert not task_of("text-classification").multi_label


def test_a_second_text_makes_a_regression_of_pairs():
    task = task_of("text-regression", text_pair="b")
    assert task.inputs == ("text", "text_pair") and task.labels == "number"
    assert task_of("text-regression").inputs == ("text",)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_of_a_class():
    logits, labels = numbers(5, 3), torch.tensor([0, 2, 1, 1, 0])
    expected = -logits.log_softmax(-1)[torch.arange(5), labels].mean()
    torch.testing.assert_close(loss_of(TASKS["text-classification"])(logits, labels), expected)


def test_binary_cross_entropy_of_several_labels():
    logits, labels = numbers(4, 3), (numbers(4, 3, seed=1) > 0).float()
    p = logits.sigmoid()
    expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    loss = loss_of(task_of("text-classification", label_separator=","))(logits, labels)
    torch.testing.assert_close(loss, expected)


def test_square_error_of_a_number():
    logits, labels = numbers(6, 1), numbers(6, seed=1)
    expected = ((logits[:, 0] - labels) ** 2).mean()
    torch.testing.assert_close(loss_of(TASKS["text-regression"])(logits, labels), expected)


def test_tags_are_scored_where_there_is_a_label():
    logits = numbers(2, 3, 4)
    labels = torch.tensor([[IGNORED, 1, IGNORED], [3, 0, IGNORED]])
    log_p = logits.log_softmax(-1)
    expected = -(log_p[0, 1, 1] + log_p[1, 0, 3] + log_p[1, 1, 0]) / 3
    torch.testing.assert_close(loss_of(TASKS["token-classification"])(logits, labels), expected)


@pytest.mark.parametrize("name", ["token-classification", "causal-lm"])
def test_a_batch_without_a_scored_token_gives_zero_and_no_gradient(name):
    logits = numbers(2, 3, 4).requires_grad_()
    loss = loss_of(TASKS[name])(logits, torch.full((2, 3), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and logits.grad.abs().sum() == 0


@pytest.mark.parametrize("n_chunk", [1, 4, 7, 1000])
def test_next_tokens_are_scored_by_the_token_before_in_chunks_of_any_size(n_chunk, monkeypatch):
    monkeypatch.setattr(losses_module, "_LM_CHUNK_TOKENS", n_chunk)
    logits = numbers(3, 5, 11).requires_grad_()
    ids = torch.randint(0, 11, (3, 5), generator=torch.Generator().manual_seed(2))
    ids[1, 3:] = ids[2, 1:] = IGNORED  # the last row has one token, which follows none
    picked = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    log_p = logits.log_softmax(-1)
    expected = -sum(log_p[row, at, ids[row, at + 1]] for row, at in picked)
    total, n_tokens = next_token_sums(logits, ids)
    torch.testing.assert_close(total, expected)
    assert n_tokens == len(picked)
    loss = loss_of(TASKS["causal-lm"])(logits, ids)
    torch.testing.assert_close(loss, expected / len(picked))
    (own,) = torch.autograd.grad(loss, logits)
    (plain,) = torch.autograd.grad(expected / len(picked), logits)
    torch.testing.assert_close(own, plain)


def test_next_token_loss_is_that_of_one_shifted_cross_entropy():
    logits, ids = numbers(2, 6, 9), torch.arange(12).view(2, 6) % 9
    expected = functional.cross_entropy(logits[:, :-1].reshape(-1, 9), ids[:, 1:].reshape(-1))
    torch.testing.assert_close(loss_of(TASKS["causal-lm"])(logits, ids), expected)


def test_half_precision_logits_are_summed_in_full():
    logits, ids = numbers(2, 400, 9).bfloat16(), torch.arange(800).view(2, 400) % 9
    total, _ = next_token_sums(logits, ids)
    torch.testing.assert_close(total, next_token_sums(logits.float(), ids)[0])
    assert total.dtype == torch.float32
