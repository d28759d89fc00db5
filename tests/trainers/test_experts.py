"""Sparse experts: three ways give one thing, which is that of a loop over tokens written out."""

import math

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from trainers.adapters import Experts
from trainers.expert_ways import GROUPED_FLOPS, WAYS
from trainers.passing import Pass

D_IN, D_OUT = 12, 20
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])


def experts(
    way="concatenated", *, n=4, top_k=2, rank=4, router="token", activation="gelu", bias=True
):
    running = Pass()
    running.mask = MASK
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Experts(
            D_IN,
            D_OUT,
            rank,
            n_experts=n,
            top_k=top_k,
            router=router,
            activation=activation,
            bias=bias,
            way=way,
            running=running,
        )
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return module


def tokens(n_rows=3, n_tokens=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_rows, n_tokens, D_IN, generator=generator)


def written_out(module, x, per_sequence=False):
    """Return the answer token by token, with the router's gates reckoned anew."""
    rows = []
    for row, mask in zip(x, MASK, strict=True):
        mean = row[mask.bool()].mean(0)
        out = []
        for token in row:
            shares = (module.router.weight @ (mean if per_sequence else token)).softmax(0)
            chosen = shares.argsort(descending=True)[: module.top_k]
            total = shares[chosen].sum().detach()
            answer = torch.zeros(D_OUT)
            for expert in chosen:
                inner = module.activation(module.down[expert] @ token + module.down_bias[expert])
                own = module.up[expert] @ inner + module.up_bias[expert]
                answer = answer + shares[expert] / total * own
            out.append(answer)
        rows.append(torch.stack(out))
    return torch.stack(rows)


def gradients(out, module, x):
    """Return those of x and of each parameter, of a sum that weighs each answer otherwise."""
    weighed = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum()
    return torch.autograd.grad(weighed, [x, *module.parameters()])


def assert_near(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("n", "top_k"), [(4, 2), (8, 1), (3, 3), (16, 2)])
@pytest.mark.parametrize("router", ["token", "sequence"])
def test_each_way_is_the_loop_written_out(way, n, top_k, router):
    module, x = experts(way, n=n, top_k=top_k, router=router), tokens().requires_grad_()
    out, expected = module(x), written_out(module, x, per_sequence=router == "sequence")
    assert_near([out], [expected])
    assert_near(gradients(out, module, x), gradients(expected, module, x))


SIZES = [(4, 2, 4), (8, 1, 3), (8, 2, 32), (16, 2, 1), (5, 5, 7)]


@pytest.mark.parametrize(("n", "top_k", "rank"), SIZES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("router", ["token", "sequence"])
def test_the_ways_agree_in_answers_and_gradients(n, top_k, rank, bias, router):
    x = tokens().requires_grad_()
    found = []
    for way in WAYS:
        module = experts(way, n=n, top_k=top_k, rank=rank, bias=bias, router=router)
        out = module(x)
        found.append([out, *gradients(out, module, x)])
    for other in found[1:]:
        assert_near(other, found[0])


@pytest.mark.parametrize("given", [torch.bfloat16, torch.float32])  # by a block; by its norm
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("router", ["token", "sequence"])
@pytest.mark.parametrize("way", WAYS)
def test_in_bfloat16_each_way_is_near_what_it_is_in_float32(way, router, bias, given):
    module = experts(way, n=4, top_k=2, bias=bias, router=router)
    x = tokens().bfloat16()
    wide, narrow = x.float().requires_grad_(), x.to(given).requires_grad_()
    out = module(wide)
    expected = [out, *gradients(out, module, wide)]
    with torch.autocast("cpu", torch.bfloat16):
        out = module(narrow)
    assert out.dtype == torch.bfloat16
    found = [out, *gradients(out.float(), module, narrow)]
    for own, other in zip(found, expected, strict=True):
        assert (own.float() - other).norm() <= 0.05 * other.norm()


@pytest.mark.parametrize("way", WAYS)
def test_experts_that_nobody_chose_are_no_trouble(way):
    module = experts(way, n=8, top_k=1)
    with torch.no_grad():
        module.router.weight.zero_()
        module.router.weight[3] = 10 * tokens(1, 1).flatten()
    x = tokens(1, 1).expand(3, 5, -1).clone().requires_grad_()
    module(x).sum().backward()
    assert module.up.grad[3].abs().sum() > 0
    assert module.up.grad[[0, 1, 2, 4, 5, 6, 7]].abs().sum() == 0


@pytest.mark.parametrize("way", WAYS)
def test_new_experts_add_nothing(way):
    module = Experts(
        D_IN,
        D_OUT,
        4,
        n_experts=4,
        top_k=2,
        router="token",
        activation="relu",
        bias=True,
        way=way,
        running=Pass(),
    )
    assert (module(tokens()) == 0).all()


def test_a_single_chosen_expert_teaches_its_router():
    module = experts(top_k=1)
    module(tokens()).square().sum().backward()
    assert module.router.weight.grad.abs().sum() > 0


def test_a_row_has_the_experts_of_its_mean_and_padding_has_no_say():
    module = experts(router="sequence", top_k=1)
    x = tokens()
    before = module(x)
    with torch.no_grad():
        x[1, 2:] += 100.0
    after = module(x)
    torch.testing.assert_close(after[1, :2], before[1, :2])
    assert module.routing()["load"] != [0.25] * 4


def test_the_load_is_balanced_by_the_formula_of_switch_transformers():
    module = experts().train()
    x = tokens()
    module(x)
    real = x[MASK.bool()]
    shares = (real @ module.router.weight.T).softmax(-1)
    chosen = shares.topk(2).indices
    load = torch.stack([(chosen == e).float().sum() for e in range(4)]) / chosen.numel()
    torch.testing.assert_close(module.balance, 4 * (load * shares.mean(0)).sum())
    module.balance.backward()
    assert module.router.weight.grad.abs().sum() > 0


def test_even_experts_have_the_least_loss():
    module = experts(n=4, top_k=1).train()
    with torch.no_grad():
        module.router.weight.zero_()
    module(tokens())
    assert module.balance.item() == pytest.approx(1.0, abs=1e-5)


def test_statistics_are_of_real_tokens_and_none_is_dropped():
    module = experts().eval()
    x = tokens()
    module(x)
    module(x)
    shares = (x[MASK.bool()] @ module.router.weight.T).softmax(-1)
    entropy = -(shares * shares.log()).sum(-1).mean()
    counts = torch.bincount(shares.topk(2).indices.flatten(), minlength=4)
    assert module.counts.tolist() == (2 * counts).tolist()
    assert module.counts.sum() == 2 * 2 * MASK.sum()
    found = module.routing()
    assert found["load"] == pytest.approx((counts / counts.sum()).tolist())
    assert found["entropy"] == pytest.approx(entropy.item(), rel=1e-5)
    module.reset_routing()
    assert module.routing() == {"load": [0.0] * 4, "entropy": 0.0}


def test_a_router_without_preference_has_the_greatest_entropy():
    module = experts().eval()
    with torch.no_grad():
        module.router.weight.zero_()
    module(tokens())
    assert module.routing()["entropy"] == pytest.approx(math.log(4))


def test_training_keeps_no_statistics_and_answering_no_loss():
    module = experts().train()
    module(tokens())
    assert module.counts.sum() == 0
    module.eval()(tokens())
    assert module.balance is None


def test_relative_positions_are_no_tokens():
    module, positions = experts(), tokens(1, 40)
    module.train()(tokens())
    balance = module.balance
    module(positions)
    assert module.balance is balance
    module.eval()(tokens())
    routing = module.routing()
    module(positions)
    assert module.routing() == routing


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [4, 3])
@pytest.mark.parametrize(("way", "computed"), [("concatenated", 4), ("grouped", 2), ("looped", 2)])
def test_what_runs_is_what_is_counted(way, computed, rank, bias):
    module, x = experts(way, rank=rank, bias=bias), tokens()
    with FlopCounterMode(display=False, custom_mapping=GROUPED_FLOPS) as counter:
        module(x)
    padded = rank if way != "grouped" else 4 * -(-rank // 4)
    # Of the biases only the upper ones of all experts are a product, weighed by their gates.
    biases = 4 * D_OUT if bias and way == "concatenated" else 0
    macs = 15 * (computed * padded * (D_IN + D_OUT) + biases + 4 * D_IN)
    assert counter.get_total_flops() == 2 * macs


def test_activations_are_those_that_are_named():
    x = torch.linspace(-2, 2, 9)
    assert torch.equal(experts(activation="relu").activation(x), functional.relu(x))
    assert torch.equal(experts(activation="gelu").activation(x), functional.gelu(x))
    assert torch.equal(experts(activation="identity").activation(x), x)
