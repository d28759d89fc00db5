"""One study, replayed from curves: a real Optuna study in memory, whose trainings are looked up.

As in search/driver.py the sampler is made anew for each trial, with a seed that follows from the
study's and the trial's number; an equal structure costs nothing the second time.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from search.driver import MAX_UNTRAINED
from search.proposals import MAX_KNOWN
from search.pruners import Pruner, stopped_at
from search.samplers import make_sampler
from studies.benchmarks.curves import DIRECTIONS, RUNG_DIRECTIONS, Curve, Curves, Values
from studies.benchmarks.grid import sample

MakeSampler = Callable[[int, int], optuna.samplers.BaseSampler]
"""(seed of the study, number of the trial) -> sampler."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training of a replayed study."""

    structure: str
    epochs: float
    """How far it was trained."""
    pruned: bool
    gflops: float
    """Spent by the study up to its end."""
    searched: float
    """The study's hypervolume by then, as a share of the whole table's."""
    checked: float
    """The same of the front that the study had by then, with the values of the other seed."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a replayed study ends: what is reached first."""

    trainings: int | None = None
    gflops: float | None = None

    def is_spent(self, steps: Sequence[Step]) -> bool:
        """Whether no further training may begin."""
        spent = steps[-1].gflops if steps else 0.0
        return (self.trainings is not None and len(steps) >= self.trainings) or (
            self.gflops is not None and spent >= self.gflops
        )


def simulate(
    curves: Curves,
    make: MakeSampler,
    pruner: Pruner,
    seed: int,
    budget: Budget,
    starts: Sequence[Mapping[str, Any]] = (),
    with_loss: bool = True,
) -> list[Step]:
    """Replay one study; return its trainings, in their order.

    It ends before its budget where MAX_UNTRAINED proposals in a row are known already.

    Args:
        curves: what every training gives.
        make: the sampler.
        pruner: what stops trials.
        seed: of the study.
        budget: when it ends.
        starts: parameters of the structures that it begins with, which are never stopped.
        with_loss: whether the validation loss stands beside the objectives at a rung.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=DIRECTIONS)
    for params in starts:
        study.enqueue_trial(dict(params))
    steps: list[Step] = []
    ends: dict[str, Values | None] = {}
    rungs = [(level, dict[int, tuple[float, ...]]()) for level in pruner.rungs(curves.n_epochs)]
    front: list[str] = []
    n_untrained = 0
    while n_untrained < MAX_UNTRAINED and not budget.is_spent(steps):
        trial, structure = _ask(study, make if n_untrained < MAX_KNOWN else _at_random, seed)
        known = structure in ends or structure not in curves.searched
        n_untrained = n_untrained + 1 if known else 0
        if not known:
            curve = curves.searched[structure]
            kept = trial.number < len(starts)
            epochs, pruned = _train(trial.number, curve, pruner, rungs, kept, with_loss)
            ends[structure] = None if pruned else curve.final
            if not pruned:
                front = curves.front_of([*front, structure])
            spent = steps[-1].gflops if steps else 0.0
            steps.append(
                Step(
                    structure=structure,
                    epochs=epochs,
                    pruned=pruned,
                    gflops=spent + epochs * curve.epoch_gflops,
                    searched=curves.searched_share(front),
                    checked=curves.checked_share(front),
                )
            )
        _tell(study, trial, structure, ends)
    return steps


def _ask(study: optuna.Study, make: MakeSampler, seed: int) -> tuple[optuna.Trial, str]:
    n_asked = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = make(seed, n_asked)
        trial = study.ask()
        spec, _ = sample(trial)
    return trial, spec.to_json()


def _at_random(seed: int, number: int) -> optuna.samplers.BaseSampler:
    return make_sampler("random", seed, number)


def _tell(
    study: optuna.Study, trial: optuna.Trial, structure: str, ends: Mapping[str, Values | None]
) -> None:
    """End a trial; what is not in the table has failed, so that no sampler learns from it."""
    if structure not in ends:
        study.tell(trial, state=TrialState.FAIL)
    elif ends[structure] is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, ends[structure])


def _train(
    number: int,
    curve: Curve,
    pruner: Pruner,
    rungs: Sequence[tuple[float, dict[int, tuple[float, ...]]]],
    kept: bool,
    with_loss: bool,
) -> tuple[float, bool]:
    """Return how many epochs a trial was trained for, and whether it was stopped."""
    for n_reached, (level, reached) in enumerate(rungs, start=1):
        reached[number] = curve.at_rung(level) if with_loss else curve.at(level)
        own = [rung for _, rung in rungs[:n_reached]]
        directions = RUNG_DIRECTIONS if with_loss else DIRECTIONS
        if not kept and stopped_at(pruner, number, own, directions) is not None:
            return level, True
    return curve.n_epochs, False
