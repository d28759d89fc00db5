"""The table of samplers: Optuna's, made anew for each trial with a seed of its own.

So the same study gives the same trials whether it ran through or was interrupted: what a sampler
proposes follows from the trials so far, the seed and the trial's number.
"""

import warnings
from collections.abc import Callable

import optuna

from search.history import WindowedTPESampler

N_STARTUP_TRIALS = 8
"""Trials at random before TPE and GP begin to model; the baselines count."""
POPULATION_SIZE = 12
"""Of the genetic samplers; Optuna's default of 50 would be more than many a whole study."""

SAMPLERS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {
    # Of Optuna's samplers the best on a conditional structure space (equal trials).
    "tpe": lambda seed, number: WindowedTPESampler(
        seed=_mix(seed, number),
        n_startup_trials=N_STARTUP_TRIALS,
        multivariate=True,
        group=True,
        constant_liar=True,
    ),
    "nsga2": lambda seed, number: optuna.samplers.NSGAIISampler(
        seed=_mix(seed, number), population_size=POPULATION_SIZE
    ),
    "nsga3": lambda seed, number: optuna.samplers.NSGAIIISampler(
        seed=_mix(seed, number), population_size=POPULATION_SIZE
    ),
    "gp": lambda seed, number: optuna.samplers.GPSampler(
        seed=_mix(seed, number),
        n_startup_trials=N_STARTUP_TRIALS,
        warn_independent_sampling=False,
    ),
    # One sequence for the whole study, and what it does not cover at random.
    "qmc": lambda seed, number: optuna.samplers.QMCSampler(
        seed=seed,
        scramble=True,
        independent_sampler=optuna.samplers.RandomSampler(seed=_mix(seed, number)),
        warn_asynchronous_seeding=False,
        warn_independent_sampling=False,
    ),
    "random": lambda seed, number: optuna.samplers.RandomSampler(seed=_mix(seed, number)),
}
"""Samplers by name: (seed of the study, number of the trial) -> sampler."""


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for one trial of a study."""
    with warnings.catch_warnings():
        # Parts of these samplers are marked experimental by Optuna; we test what we use.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[name](seed, number)


def _mix(seed: int, number: int) -> int:
    """Return a seed of 32 bits that is another for each trial of each study."""
    return (seed * 1_000_003 + number * 7_919 + 1) % 2**32
