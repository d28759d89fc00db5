"""One trial as Paradapt trains it, timed as a whole."""

import time
from dataclasses import dataclass

from search.context import StudyContext
from search.training import train_structure
from tests.benchmarks.material import Structure


@dataclass(frozen=True, kw_only=True)
class OurRun:
    """What one trial gave."""

    accuracy: float
    """Of the last epoch."""
    seconds: float
    """Of the whole trial: building, opening or filling the cache, training, validation."""
    cpu_s: float
    """Processor time of the same, of all threads: it hardly depends on who else is there."""


def run_ours(context: StudyContext, structure: Structure) -> OurRun:
    """Train one structure the way trials do, for the epochs of the study."""
    began, began_cpu = time.perf_counter(), time.process_time()
    _, result = train_structure(
        context,
        structure.spec,
        structure.learning,
        report=lambda _epoch: True,
        tick=lambda _done, _steps: None,
    )
    return OurRun(
        accuracy=result.metrics["accuracy"],
        seconds=time.perf_counter() - began,
        cpu_s=time.process_time() - began_cpu,
    )
