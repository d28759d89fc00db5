"""Early exit: rows leave where a head is sure, and the rest of the backbone is not run for them."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from space.spec import AdapterSpec
from tests.trainers.test_contract import inputs_of
from tests.trainers.tiny import fill_randomly
from trainers.backbone import Backbone
from trainers.early_exit import NEVER, EarlyExit, choose, confidence, exit_curve
from trainers.model import AdaptedModel, build

N_OUTPUTS = 3


def leaving(backbone: Backbone, exits: tuple[int, ...] = (1, 2)) -> AdaptedModel:
    spec = AdapterSpec(depth=3, exits=exits)
    return fill_randomly(build(backbone, spec, N_OUTPUTS, seed=0), spread=0.5)


def all_heads(model: AdaptedModel, inputs: dict[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return model.forward_exits(**inputs)


def test_never_leaving_early_is_the_plain_model(tiny_any):
    model, inputs = leaving(tiny_any), inputs_of(tiny_any)
    logits, taken = EarlyExit(model, NEVER)(**inputs)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(**inputs), atol=1e-5, rtol=1e-5)
    assert taken.tolist() == [2] * len(logits)


def test_each_row_has_the_answer_of_its_exit(tiny_any):
    model, inputs = leaving(tiny_any), inputs_of(tiny_any, n_rows=6)
    heads = all_heads(model, inputs)
    # Between the confidences of the rows, so that some leave and some stay.
    sure = confidence(heads[0], multi_label=False).sort().values
    threshold = float((sure[2] + sure[3]) / 2)
    logits, taken = EarlyExit(model, threshold)(**inputs)
    assert len(set(taken.tolist())) > 1
    expected = torch.stack([heads[exit_][row] for row, exit_ in enumerate(taken)])
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-4)


def test_rows_that_left_are_not_run_any_more(tiny_bert):
    model, inputs = leaving(tiny_bert), inputs_of(tiny_bert, n_rows=6)
    sure = confidence(all_heads(model, inputs)[0], multi_label=False).sort().values
    n_rows = []
    third = model.view.get_submodule("encoder.layer")[2].base
    hook = third.register_forward_pre_hook(lambda _m, args: n_rows.append(len(args[0])))
    EarlyExit(model, [float((sure[1] + sure[2]) / 2), NEVER])(**inputs)
    EarlyExit(model, 0.0)(**inputs)
    hook.remove()
    assert n_rows == [2]  # four of six left; then all of them did, and the block did not run


def test_it_leaves_the_model_as_it_was(tiny_bert):
    model, inputs = leaving(tiny_bert), inputs_of(tiny_bert)
    with torch.no_grad():
        before = model(**inputs)
        EarlyExit(model, 0.0)(**inputs)
        assert torch.equal(model(**inputs), before)


def test_confidence_of_one_label_and_of_several():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    one = confidence(logits, multi_label=False)
    assert one.tolist() == pytest.approx([0.8808, 0.5], abs=1e-4)
    assert confidence(logits, multi_label=True).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


class Accuracy:
    def __init__(self) -> None:
        self.right = self.n = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        self.right += int((logits.argmax(-1) == labels).sum())
        self.n += len(labels)

    def compute(self) -> dict[str, float]:
        return {"accuracy": self.right / self.n}


@pytest.fixture
def curve():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, N_OUTPUTS, (400,), generator=generator)
    truth = torch.nn.functional.one_hot(labels, N_OUTPUTS).float()
    heads = [
        truth * strength + torch.randn(400, N_OUTPUTS, generator=generator)
        for strength in (1.0, 2.0, 4.0)
    ]
    gflops = torch.tensor([1.0, 2.0, 3.0]).expand(400, -1)
    return exit_curve(heads, labels, Accuracy, "accuracy", gflops), heads, labels


def test_a_curve_goes_from_the_whole_cost_to_the_least(curve):
    points, heads, labels = curve
    assert (points[0].mean_gflops, points[-1].mean_gflops) == (
        pytest.approx(3.0),
        pytest.approx(1.0),
    )
    assert all(a.mean_gflops > b.mean_gflops for a, b in pairwise(points))
    assert points[0].value == pytest.approx(float((heads[-1].argmax(1) == labels).float().mean()))
    assert points[-1].value == pytest.approx(float((heads[0].argmax(1) == labels).float().mean()))
    for point in points:
        assert sum(point.shares) == pytest.approx(1.0)
        assert point.mean_gflops == pytest.approx(
            sum(s * g for s, g in zip(point.shares, (1.0, 2.0, 3.0), strict=True))
        )


def test_the_cheapest_point_that_is_good_enough_is_chosen(curve):
    points, *_ = curve
    for tolerance in (0.0, 0.01, 0.05, 1.0):
        chosen = choose(points, tolerance, "maximize")
        assert chosen.value >= points[0].value - tolerance
        good = [p for p in points if p.value >= points[0].value - tolerance]
        assert all(chosen.mean_gflops <= point.mean_gflops for point in good)
    assert choose(points, 1.0, "maximize") == points[-1]


def test_each_row_costs_what_it_costs():
    """The row that leaves early is the dear one: the mean falls by more than its share."""
    sure, unsure = [4.0, 0.0], [0.0, 0.0]
    heads = [torch.tensor([sure, unsure]), torch.tensor([sure, sure])]
    gflops = torch.tensor([[10.0, 30.0], [1.0, 3.0]])
    points = exit_curve(heads, torch.tensor([0, 0]), Accuracy, "accuracy", gflops)
    costs = {point.shares: point.mean_gflops for point in points}
    assert costs == {(0.0, 1.0): 16.5, (0.5, 0.5): 6.5, (1.0, 0.0): 5.5}
