"""The tables of README.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.scale.driver import STEPS, Spent
from studies.scale.simulate import Outcome


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured with a storage while so many trials were running."""

    storage: str
    n_workers: int
    sizes: Mapping[int, Mapping[str, Spent]]
    """By trials in the study, fewest first: what each step of one trial takes."""
    run_s: float
    """Of one more run in MLflow."""
    pages_s: tuple[float, float]
    """Of the first page, and of all, of the longest study."""


def tables(
    measured: Sequence[Measured],
    outcomes: Sequence[tuple[Measured, float, Outcome]],
    n_trials: int,
) -> str:
    """Return what was measured and what was simulated, as Markdown."""
    lines = [
        "What the driver's work takes for one trial (measured):",
        "",
        "| storage | running | trials in the study | seconds in all | of these in the storage"
        " | its calls | sampler and the rest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for point in measured:
        for size, spent in point.sizes.items():
            whole = sum(spent[step].whole_s for step in STEPS)
            stored = sum(spent[step].storage_s for step in STEPS)
            calls = sum(spent[step].n_calls for step in STEPS)
            lines.append(
                f"| {point.storage} | {point.n_workers:,} | {size:,} | {whole:.2f} | {stored:.2f}"
                f" | {calls} | {whole - stored:.2f} |"
            )
    first = measured[0]
    page_s, pages_s = first.pages_s
    lines += [
        "",
        f"MLflow, beside the training: {first.run_s:.2f} s for the run of one trial"
        f" ({3600 / first.run_s:,.0f} an hour), {page_s:.1f} s for the first page of"
        f" {n_trials:,} trials and {pages_s:.1f} s for all pages.",
        "",
        f"Studies of {n_trials:,} trials (simulated with these costs):",
        "",
        "| epoch, on average | storage | workers | hours | trials an hour | workers train"
        " | the driver works |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {epoch_s:g} s | {point.storage} | {point.n_workers:,} | {outcome.hours:.1f}"
        f" | {outcome.trials_an_hour(n_trials):,.0f} | {outcome.workers_busy:.0%}"
        f" | {outcome.driver_busy:.0%} |"
        for point, epoch_s, outcome in outcomes
    ]
    return "\n".join(lines)
