"""What a study has learned of the memory that it has: what was too large once is too large again.

How many bytes a training needs depends on machine, libraries and lengths of rows; that a structure
which needs at least as much of everything needs at least as many bytes does not.
"""

import time
from collections.abc import Iterable

import optuna
from optuna.trial import FrozenTrial

from search.context import StudyContext
from space.cost import CostModel
from space.spec import AdapterSpec

OUT_OF_MEMORY = "out_of_memory"
"""Trial attribute: this trial found no memory left."""
AT_ONCE_S = 10.0
"""Workers that were ended within so long were ended at the same time."""

Demand = tuple[int, int, float]
"""(blocks that run, blocks whose states are kept for the backward pass, trained parameters)"""


def too_large(context: StudyContext, trial: optuna.Trial) -> str:
    """Return, in words, why a trial would find no memory left; nothing where it may."""
    trials = trial.study.get_trials(deepcopy=False)
    failed = [other for other in trials if OUT_OF_MEMORY in other.user_attrs]
    if not failed:
        return ""
    own = AdapterSpec.from_json(trial.user_attrs["spec"])
    for other in failed:
        if _needs_as_much(context.cost, own, AdapterSpec.from_json(other.user_attrs["spec"])):
            return _in_words(other)
    return ""


class Blame:
    """Whose fault it is where a machine with several workers has no memory left.

    Ray then ends those workers that it started last, whichever took the memory; and what is learned
    of a structure that only trained beside the greedy one would bar nearly all others.
    """

    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self._ended: list[tuple[AdapterSpec, float]] = []

    def lies_with(self, spec: AdapterSpec, beside: Iterable[AdapterSpec]) -> bool:
        """Whether a structure whose worker was ended surely needed the most.

        Args:
            spec: the structure.
            beside: those that are being trained now. Those whose workers were ended at the same
                time are known.
        """
        now = time.monotonic()
        ended = [other for other, when in self._ended if now - when < AT_ONCE_S]
        self._ended.append((spec, now))
        return all(_needs_as_much(self._cost, spec, other) for other in (*beside, *ended))


def _needs_as_much(cost: CostModel, spec: AdapterSpec, other: AdapterSpec) -> bool:
    """Whether a structure surely needs at least as much memory as the other."""
    pairs = zip(_demand(cost, spec), _demand(cost, other), strict=True)
    return all(own >= its for own, its in pairs)


def _demand(cost: CostModel, spec: AdapterSpec) -> Demand:
    backward = spec.depth - spec.first_insertion_layer
    return spec.depth, backward, cost.trainable_params(spec)


def _in_words(other: FrozenTrial) -> str:
    return (
        f"it needs at least as much memory as trial {other.number}, which found none left: as many"
        " blocks, as many of them in the backward pass, as many trained parameters"
    )
