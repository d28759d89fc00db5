"""The model card of an exported structure: README.md of its folder, without its last parts."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial

from search.exits import EXIT_CURVE
from search.objectives import METRICS, formatted
from trainers.bundle import BundleConfig
from trainers.early_exit import NEVER


def model_card(
    config: BundleConfig,
    trial: FrozenTrial,
    metrics: Mapping[str, Any],
    n_tokens: int,
    exit_metric: str,
) -> str:
    """Return the card.

    Args:
        config: of the bundle.
        trial: that it holds.
        metrics: of that trial, and `measured_gflops_at_mean_length`.
        n_tokens: that length.
        exit_metric: the metric that the threshold of early exits was chosen by.
    """
    rows = "\n".join(
        f"| {METRICS[name].title} | {formatted(name, value)} |"
        for name, value in metrics.items()
        if name in METRICS
    )
    measured = metrics["measured_gflops_at_mean_length"]
    exits = ", no row leaving early" if config.spec.exits else ""
    return f"""# {config.provenance["study"]}, trial {trial.number}

A trained adapter structure for {config.task}, found by Paradapt.

- Structure: {config.spec.describe()}
- Backbone: {config.backbone} (frozen; fingerprint {config.backbone_fingerprint[:16]})
{_facts(config)}

| on validation data | |
|---|---|
{rows}

One sample of {n_tokens} tokens (the mean length) was counted on the live model at
{measured:.4g} GFLOPs in the deployed form{exits}. Scores are of the validation rows that the search
itself looked at, so they are somewhat too good; no test data were used.

{_experts(trial)}{_exit_curve(config, trial, exit_metric)}"""


def _facts(config: BundleConfig) -> str:
    facts = []
    if config.labels:
        facts.append(f"- Labels: {', '.join(config.labels)}")
    if config.what.multi_label:
        facts.append("- A row may have several of them; a probability of one half decides.")
    if "image" not in config.what.inputs:
        facts.append(f"- Texts are cut at {config.max_length} tokens.")
    if config.exit_threshold is not None:
        facts.append(f"- {_exit_rule(config.exit_threshold)}")
    return "\n".join(facts)


def _exit_rule(threshold: float) -> str:
    if threshold >= NEVER:
        return "No row leaves early: it would cost more quality than the study allowed."
    return f"A row leaves early where a head is {threshold:.3f} sure."


def _experts(trial: FrozenTrial) -> str:
    """Return how the experts were loaded on validation, where there are any."""
    routing = trial.user_attrs.get("routing")
    if not routing:
        return ""
    rows = "\n".join(
        f"| {adapter['layer']} | {adapter['role']} | "
        + " ".join(f"{share:.0%}" for share in adapter["load"])
        + f" | {adapter['entropy']:.2f} |"
        for adapter in routing
    )
    return f"""## Experts

| layer | role | share of the choices, each expert | entropy of the router (nats) |
|---|---|---|---|
{rows}

"""


def _exit_curve(config: BundleConfig, trial: FrozenTrial, metric: str) -> str:
    """Return what other thresholds of the early exits gave on validation."""
    curve = trial.user_attrs.get(EXIT_CURVE)
    if not curve:
        return ""
    rows = "\n".join(
        f"| {'never' if point['threshold'] >= NEVER else format(point['threshold'], '.3f')}"
        f" | {point['value']:.4f} | {point['mean_gflops']:.4g} | "
        + " ".join(f"{share:.0%}" for share in point["shares"])
        + " |"
        for point in curve
    )
    places = ", ".join(map(str, (*config.spec.exits, config.spec.depth)))
    return f"""## Early exits

| leaves where so sure | {metric} | mean GFLOPs | rows answered behind block {places} |
|---|---|---|---|
{rows}

"""
