"""Many workers and one driver in simulated time: who waits for whom.

Training takes no real time: its end is an event of the future. The driver does one thing at a time,
in the order in which workers come to it, and each takes the seconds that were measured for it.
"""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.scale.trainings import N_EPOCHS, Training

STOPPED_AT_FIRST_RUNG = 0.6
"""Share of trials that the pruner stops after an epoch (studies/benchmarks: 37 of 60)."""

Costs = Mapping[str, Sequence[tuple[int, float]]]
"""For each step of the driver (trials in the study, seconds), fewest trials first."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a simulated study went."""

    hours: float
    workers_busy: float
    """Share of the workers' time that was training."""
    driver_busy: float
    """Share of the driver's time that was work."""

    def trials_an_hour(self, n_trials: int) -> float:
        """Return how many trials ended in an hour."""
        return n_trials / self.hours


def simulate(
    costs: Costs, trainings: Sequence[Training], n_workers: int, n_trials: int, mean_epoch_s: float
) -> Outcome:
    """Run a study.

    Args:
        costs: of the driver's steps `ask`, `decide` and `tell`.
        trainings: what is drawn from.
        n_workers: how many train side by side.
        n_trials: of the study.
        mean_epoch_s: what an epoch takes; the trainings differ from each other as measured.
    """
    draw = random.Random(0)  # noqa: S311
    measured = [second for training in trainings for second in training.epoch_s]
    factor = mean_epoch_s * len(measured) / sum(measured)
    # (when, number of the event, step, epoch, its training)
    events: list[tuple[float, int, str, int, Training | None]] = [
        (0.0, number, "ask", 0, None) for number in range(n_workers)
    ]
    n_events, n_begun, n_ended = n_workers, 0, 0
    free_s = worked_s = trained_s = 0.0
    while n_ended < n_trials:
        when, _, step, epoch, training = heapq.heappop(events)
        took = at(costs[step], n_ended)
        free_s = max(free_s, when) + took
        worked_s += took
        if step == "ask":
            if n_begun == n_trials:
                continue
            n_begun += 1
            epoch, training = 0, draw.choice(trainings)
        elif step == "tell":
            n_ended += 1
            training = None
        next_step, wait_s = "ask", 0.0
        if training is not None:
            stopped = step == "decide" and epoch == 1 and draw.random() < STOPPED_AT_FIRST_RUNG
            if stopped or epoch == N_EPOCHS:
                next_step = "tell"
            else:
                next_step, wait_s = "decide", factor * training.epoch_s[epoch]
                epoch += 1
        trained_s += wait_s
        n_events += 1
        heapq.heappush(events, (free_s + wait_s, n_events, next_step, epoch, training))
    return Outcome(
        hours=free_s / 3600,
        workers_busy=trained_s / (n_workers * free_s),
        driver_busy=worked_s / free_s,
    )


def at(points: Sequence[tuple[int, float]], n_trials: int) -> float:
    """Return the cost at a number of trials: between two measured ones by a straight line."""
    (low, first), *others = points
    if n_trials <= low:
        return first
    for high, second in others:
        if n_trials <= high:
            return first + (second - first) * (n_trials - low) / (high - low)
        low, first = high, second
    return first
