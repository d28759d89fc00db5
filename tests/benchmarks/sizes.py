"""How much is trained in the benchmarks."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers that decide how long the benchmarks take, and how sure they are."""

    rows: int
    """Training rows of a timed trial."""
    epochs: int
    named_epochs: int
    """Of the two structures whose ratios stand alone, which take longest."""
    named_turns: int
    """How often each of the two is trained."""
    n_structures: int
    """Of the 12 sampled ones."""
    n_seeds: int
    """With which accuracies are compared."""
    step_rows: int
    """Training rows of the steps that are timed one by one."""
    cache_rows: int
    """Training rows where the cache's gain is measured."""
    cuts: tuple[int, ...]
    """First insertion layers at which it is measured."""
    predict_rows: int
    """Rows that are predicted and timed, at depth 1."""
    memory_rows: int
    """Rows that are predicted to see what memory it takes."""


FULL = Sizes(
    rows=1000,
    epochs=4,
    named_epochs=2,
    named_turns=3,
    n_structures=12,
    n_seeds=3,
    step_rows=320,
    cache_rows=320,
    cuts=(1, 3, 5),
    predict_rows=100_000,
    memory_rows=1_000_000,
)
QUICK = Sizes(
    rows=64,
    epochs=2,
    named_epochs=1,
    named_turns=1,
    n_structures=2,
    n_seeds=1,
    step_rows=96,
    cache_rows=64,
    cuts=(3,),
    predict_rows=2_000,
    memory_rows=10_000,
)
"""To see that everything runs; the ratios mean nothing."""
