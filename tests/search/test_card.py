"""The model card says what there is, and no more."""

import pytest

from search.card import model_card
from space.adapter import Adapter
from space.spec import AdapterSpec
from tests.search.finished_study import trial_of
from trainers.bundle import BundleConfig
from trainers.data import Columns
from trainers.early_exit import NEVER

METRICS = {
    "accuracy": 0.75,
    "inference_gflops": 0.123456,
    "trainable_params": 1234.0,
    "measured_gflops_at_mean_length": 0.13,
}
CURVE = [
    {"threshold": NEVER, "value": 0.75, "metrics": {}, "mean_gflops": 0.2, "shares": [0.0, 1.0]},
    {"threshold": 0.91234, "value": 0.74, "metrics": {}, "mean_gflops": 0.1, "shares": [0.6, 0.4]},
]
ROUTING = [{"layer": 1, "role": "query", "load": [0.25, 0.75], "entropy": 0.5}]
EXPERTS = Adapter(
    layer=1, role="query", kind="lora", rank=2, alpha=4, experts=2, top_k=1, router="token"
)


def card(*, spec=None, threshold=None, exit_metric="accuracy", **changes):
    attributes = {key: changes.pop(key) for key in ("exit_curve", "routing") if key in changes}
    fields = {
        "task": "text-classification",
        "backbone": "minilm",
        "backbone_fingerprint": "f" * 64,
        "labels": ("no", "yes"),
        "columns": Columns(),
        "scale": None,
        "max_length": 48,
        "spec": spec or AdapterSpec(depth=2),
        "exit_threshold": threshold,
        "provenance": {"study": "mine"},
    } | changes
    trial = trial_of([0.75, 0.12], spec=fields["spec"], number=7, **attributes)
    return model_card(BundleConfig(**fields), trial, METRICS, 21, exit_metric)


def test_it_has_structure_scores_and_how_to_use_it():
    text = card()
    assert text.startswith("# mine, trial 7\n")
    assert "- Structure: depth 2; head only; mean pooling\n" in text
    assert "| validation accuracy | 75.00% |" in text
    assert "| trainable parameters | 1,234 |" in text
    assert "One sample of 21 tokens (the mean length)" in text and "0.13 GFLOPs" in text
    assert "- Labels: no, yes\n- Texts are cut at 48 tokens.\n" in text
    assert "## Experts" not in text and "## Early exits" not in text and "leave" not in text


@pytest.mark.parametrize(
    ("changes", "has", "lacks"),
    [
        ({"task": "text-regression", "labels": ()}, "Texts are cut", "Labels"),
        ({"task": "causal-lm", "labels": ()}, "for causal-lm", "Labels"),
        ({"task": "image-classification"}, "for image-classification", "Texts are cut"),
        ({"columns": Columns(label_separator=";")}, "A row may have several of them", "leaves"),
        (
            {"task": "text-pair-classification", "columns": Columns(text_pair="b")},
            "for text-pair-classification",
            "several of them",
        ),
    ],
)
def test_it_tells_what_the_task_has(changes, has, lacks):
    text = card(**changes)
    assert has in text and lacks not in text


def test_it_has_the_load_of_the_experts():
    text = card(spec=AdapterSpec(depth=2, adapters=(EXPERTS,)), routing=ROUTING)
    assert "## Experts" in text
    assert "| 1 | query | 25% 75% | 0.50 |" in text


def test_it_has_the_exit_curve_with_its_metric():
    spec = AdapterSpec(depth=2, exits=(1,))
    text = card(spec=spec, threshold=0.91234, exit_curve=CURVE, exit_metric="macro_f1")
    assert "- A row leaves early where a head is 0.912 sure." in text
    assert (
        "| leaves where so sure | macro_f1 | mean GFLOPs | rows answered behind block 1, 2 |"
        in (text)
    )
    assert "| never | 0.7500 | 0.2 | 0% 100% |" in text
    assert "| 0.912 | 0.7400 | 0.1 | 60% 40% |" in text
    assert "in the deployed form, no row leaving early." in text


def test_a_threshold_that_is_never_reached_is_told_in_words():
    text = card(spec=AdapterSpec(depth=2, exits=(1,)), threshold=NEVER, exit_curve=CURVE)
    assert "- No row leaves early: it would cost more quality than the study allowed." in text
    assert "2.000 sure" not in text
