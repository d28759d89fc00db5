"""What a study has learned of the memory that it has: what was too large once is too large again.

How many bytes a training needs depends on machine, libraries and lengths of rows; that a structure
which needs at least as much of everything needs at least as many bytes does not.
"""

import optuna
from optuna.trial import FrozenTrial

from search.context import StudyContext
from space.spec import AdapterSpec

OUT_OF_MEMORY = "out_of_memory"
"""Trial attribute: this trial found no memory left."""

Demand = tuple[int, int, float]
"""(blocks that run, blocks whose states are kept for the backward pass, trained parameters)"""


def too_large(context: StudyContext, trial: optuna.Trial) -> str:
    """Return, in words, why a trial would find no memory left; nothing where it may."""
    trials = trial.study.get_trials(deepcopy=False)
    failed = [other for other in trials if OUT_OF_MEMORY in other.user_attrs]
    if not failed:
        return ""
    own = _demand(context, trial.user_attrs["spec"])
    for other in failed:
        known = _demand(context, other.user_attrs["spec"])
        if all(mine >= its for mine, its in zip(own, known, strict=True)):
            return _in_words(other)
    return ""


def _demand(context: StudyContext, spec_json: str) -> Demand:
    spec = AdapterSpec.from_json(spec_json)
    backward = spec.depth - spec.first_insertion_layer
    return spec.depth, backward, context.cost.trainable_params(spec)


def _in_words(other: FrozenTrial) -> str:
    return (
        f"it needs at least as much memory as trial {other.number}, which found none left: as many"
        " blocks, as many of them in the backward pass, as many trained parameters"
    )
