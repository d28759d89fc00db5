"""The benchmarks themselves: the plain loop is the same model, and the sums are right."""

from dataclasses import replace

import pytest
import torch

from space.adapter import Adapter
from space.cost import CostModel, HeadShape, TokenStats
from space.search_space import Learning
from space.spec import AdapterSpec
from tests.benchmarks.material import sampled
from tests.benchmarks.plain import PlainData, run_plain
from tests.benchmarks.plain_model import PATHS, PlainModel, check_plain
from tests.benchmarks.profiles import OTHERS, PYTHON, group_of, spent
from tests.benchmarks.rows import HEADINGS, Row, table
from tests.benchmarks.study import reached_s, row_of, volume
from tests.benchmarks.work import work_of
from tests.trainers.tiny import adapter, fill_randomly, random_batch, save_tiny, structure
from trainers.backbone import load_backbone
from trainers.flops import measure_gflops
from trainers.model import build, concatenated

# PEFT 0.21 asks transformers 5.23 for a property by its old name.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)

N_LABELS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny("bert", tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="module")
def backbone(folder):
    return load_backbone(str(folder))


def sparse(layer, role, kind):
    return replace(adapter(layer, role, kind), experts=4, top_k=2, router="token")


STRUCTURES = {
    "LoRA of two ranks": AdapterSpec(
        depth=3,
        adapters=tuple(
            adapter(layer, role, "lora", rank=2 + layer) for layer in (1, 2) for role in PATHS
        ),
    ),
    "LoRA with the scale of rank-stabilised": AdapterSpec(
        depth=2,
        adapters=(
            Adapter(
                layer=1, role="query", kind="lora", rank=4, alpha=8, scaling="alpha/sqrt(rank)"
            ),
        ),
    ),
    "all kinds at once": AdapterSpec(
        depth=4,
        adapters=(
            adapter(3, "attention_output", "lora"),
            adapter(3, "attention", "bottleneck"),
            adapter(3, "ffn", "parallel"),
            adapter(1, "attention", "parallel"),
            adapter(1, "ffn", "bottleneck"),
        ),
        pooling="cls",
    ),
    "experts": AdapterSpec(
        depth=2,
        adapters=(
            sparse(0, "query", "lora"),
            sparse(0, "ffn", "parallel"),
            sparse(1, "ffn", "bottleneck"),
        ),
    ),
}


def copy_weights(model, plain):
    """Give the plain model the weights of ours."""
    with torch.no_grad():
        for a in model.spec.adapters:
            own = model.adapters.get_submodule(f"{a.layer}.{a.role}")
            if a.experts > 1:
                theirs = plain.by_hand[f"{a.layer}_{a.role}"]
                theirs.router.weight.copy_(own.experts.router.weight)
                for e, expert in enumerate(theirs.experts):
                    expert.down.weight.copy_(own.experts.down[e])
                    expert.up.weight.copy_(own.experts.up[e])
                    if own.experts.down_bias is not None:
                        expert.down.bias.copy_(own.experts.down_bias[e])
                        expert.up.bias.copy_(own.experts.up_bias[e])
            elif a.kind == "lora":
                path = f"base_model.model.encoder.layer.{a.layer}.{PATHS[a.role]}"
                layer = plain.backbone.get_submodule(path)
                layer.lora_A["default"].weight.copy_(own.down)
                layer.lora_B["default"].weight.copy_(own.up)
            else:
                plain.by_hand[f"{a.layer}_{a.role}"].load_state_dict(own.state_dict())
        plain.head.load_state_dict(model.head.linear.state_dict())


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_plain_model_answers_and_learns_as_ours(name, folder, backbone):
    spec = STRUCTURES[name]
    model = fill_randomly(build(backbone, spec, N_LABELS, seed=0)).train()
    plain = PlainModel(str(folder), spec, N_LABELS).eval()
    copy_weights(model, plain)
    ids, mask = random_batch(5, 9)
    ours = model(input_ids=ids, attention_mask=mask)
    theirs = plain(ids, mask)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)
    for logits in (ours, theirs):
        torch.nn.functional.cross_entropy(logits, torch.arange(5) % N_LABELS).backward()
    both = [
        sorted(p.grad.square().sum().item() for p in parameters if p.grad is not None)
        for parameters in (split_experts(model), plain.parameters())
    ]
    assert both[1] == pytest.approx(both[0], rel=1e-2, abs=1e-9)
    balance = [experts.balance for experts in plain.sparse()]
    if balance:
        torch.testing.assert_close(sum(balance), model.balance_loss())


class Part:
    """A slice of a parameter: one expert's."""

    def __init__(self, grad):
        self.grad = grad


def split_experts(model):
    """Return what is trained, experts one by one as the plain model holds them."""
    for name, parameter in model.named_parameters():
        if ".experts." in name and not name.endswith("router.weight"):
            yield from (Part(grad) for grad in parameter.grad)
        else:
            yield parameter


def test_a_plain_model_trains_as_many_parameters_as_ours(folder, backbone):
    for spec in STRUCTURES.values():
        model = build(backbone, spec, N_LABELS, seed=0)
        plain = PlainModel(str(folder), spec, N_LABELS)
        counts = [
            sum(p.numel() for p in parameters if p.requires_grad)
            for parameters in (model.trained_parameters(), plain.parameters())
        ]
        assert counts[0] == counts[1]


def test_the_plain_loop_learns(folder, backbone):
    rows = [
        {"input_ids": [2, word, word, 3], "attention_mask": [1] * 4, "labels": word % 2}
        for word in range(14, 26)
    ]
    data = PlainData(
        folder=str(folder),
        tokenizer=backbone.tokenizer,
        train=rows * 4,
        validation=rows,
        n_labels=2,
        batch_size=8,
    )
    spec = structure(1, (0,), {"query": "lora", "ffn": "bottleneck"})
    learning = Learning(learning_rate=1e-2, head_learning_rate=1e-1)
    told = []
    run = run_plain(data, spec, learning, epochs=8, after_epoch=told.append)
    assert len(told) == 8
    assert run.accuracy == told[-1] > 0.9
    assert run.seconds > 0
    assert run.cpu_s > 0


def test_the_plain_loop_refuses_what_it_was_not_written_for():
    with pytest.raises(ValueError, match="no Adapter"):
        check_plain(structure(1, (0,), {"key": "ia3"}))


def test_the_twelve_structures_are_twelve_and_plain():
    structures = sampled()
    assert len({s.spec for s in structures}) == 12
    for each in structures:
        check_plain(each.spec)


def test_work_above_and_below_the_cut(backbone):
    n_tokens = 7
    cost = CostModel(
        shape=backbone.shape,
        head=HeadShape(n_outputs=N_LABELS),
        tokens=TokenStats.of([n_tokens]),
        ways=concatenated,
    )
    spec = structure(4, (2, 3), {"query": "lora", "ffn": "bottleneck"})
    work = work_of(cost, spec)
    assert work.below == pytest.approx(
        measure_gflops(build(backbone, AdapterSpec(depth=2), N_LABELS, seed=0), backbone, n_tokens)
        - 2 * backbone.shape.width * N_LABELS / 1e9
    )
    model = build(backbone, spec, N_LABELS, seed=0)
    assert work.below + work.validation == pytest.approx(
        measure_gflops(model, backbone, n_tokens), rel=1e-3
    )
    assert work.below + work.training == pytest.approx(cost.training_gflops(spec))
    in_all = work.trial_gflops(10, 4, 3, cached=False)
    assert in_all - work.trial_gflops(10, 4, 3, cached=True) == pytest.approx(
        3 * work.fill_gflops(10, 4)
    )


def test_a_profile_sums_to_one():
    linear = torch.nn.Linear(64, 64)
    shares = spent(lambda: [linear(torch.ones(32, 64)).softmax(-1) for _ in range(20)])
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-6)
    assert {"matrix products", "softmax", PYTHON} <= shares.keys()


@pytest.mark.parametrize(
    ("operator", "group"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::_softmax_backward_data", "softmax"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention (fused kernel)"),
        ("aten::native_layer_norm_backward", "norms of the blocks"),
        ("aten::gelu_backward", "activations"),
        ("aten::_fused_adamw_", "optimizer and clipping"),
        ("aten::copy_", "copies and casts"),
        ("aten::mul", "additions and products of elements"),
        ("aten::argsort", OTHERS),
        ("autograd::engine::evaluate_function: MulBackward0", None),
    ],
)
def test_operators_are_grouped(operator, group):
    assert group_of(operator) == group


def test_a_row_holds_or_not_or_says_nothing():
    assert Row(name="a", measured=5.0, at_least=4).holds is True
    assert Row(name="a", measured=5.0, at_most=4).holds is False
    assert Row(name="a", measured=5.0).holds is None
    assert Row(name="a", measured=None, at_least=4).holds is None
    assert Row(name="a", measured=1.0, at_least=0.85, at_most=1.15).wanted == (
        "at least 0.85 and at most 1.15"
    )
    text = table([Row(name="a", measured=None, at_least=4, note="no GPU").cells()], HEADINGS)
    assert text.splitlines()[-1] == "a     not measured  at least 4         no GPU"


def test_the_time_to_a_hypervolume():
    reference = (0.0, 1.0)
    curve = [(5.0, 0.5, 0.5), (8.0, 0.4, 0.6), (9.0, 1.0, 0.5)]
    assert volume(curve[:1], reference) == pytest.approx(0.25)
    assert reached_s(curve, 0.25, reference) == 5.0
    assert reached_s(curve, 0.4, reference) == 9.0
    assert reached_s(curve, 0.6, reference) is None
    row = row_of({"reached_s": None, "plain_s": 90.0, "ours_s": 9.0})
    assert row.holds is False
    assert row_of({"reached_s": 5.0, "plain_s": 90.0, "ours_s": 9.0}).holds is True
