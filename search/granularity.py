"""From coarse to fine: ranks are sampled in ever smaller groups of blocks as a study goes on.

Half of the budget goes to structures with one rank a role, a quarter each to ranks by thirds of
the blocks and by block. The parameters of each stage have names of their own, so that no choice
list ever changes for Optuna. A stage begins with the front as it is, written in the parameters of
that stage: these structures are known, so that they cost nothing, and the sampler starts from them.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.front import pareto_front
from space.replay import params_for
from space.search_space import Learning, SearchSpace
from space.spec import AdapterSpec

GRANULARITY = "granularity"
"""Trial attribute: how finely the ranks of this trial are sampled, in a study from coarse to
fine."""


def stage_of(space: SearchSpace, n_trained: int, n_trials: int) -> str | None:
    """Return how finely ranks are sampled by now, None where that does not change in a study."""
    if len(space.stages) == 1:
        return None
    # The first stage has as many trials as all others together.
    n_later = len(space.stages) - 1
    index = (2 * n_trained - n_trials) * n_later // n_trials + 1
    return space.stages[min(max(index, 0), n_later)]


def space_of(space: SearchSpace, trial: optuna.Trial) -> SearchSpace:
    """Return the space that a trial is sampled from."""
    stage = trial.user_attrs.get(GRANULARITY)
    return space if stage is None else space.at(stage)


def first_of_stage(
    space: SearchSpace,
    stage: str,
    trials: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
) -> list[dict[str, Any]]:
    """Return the parameters that a stage begins with: the front's, unless it has begun."""
    begun = any(trial.user_attrs.get(GRANULARITY) == stage for trial in trials)
    if begun or stage == space.stages[0]:
        return []
    found = []
    for trial in pareto_front(trials, directions):
        spec = AdapterSpec.from_json(trial.user_attrs["spec"])
        params = params_for(space.at(stage), spec, Learning(**trial.user_attrs["learning"]))
        if params is not None:
            found.append(params)
    return found
