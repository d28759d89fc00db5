"""Every sampler on a conditional space: quiet, seeded, and the same after an interruption."""

from dataclasses import replace
from functools import cache

import optuna
import pytest
from optuna.trial import TrialState

from search.samplers import SAMPLERS, make_sampler
from space.cost import BackboneShape, HeadShape
from space.default_space import default_space
from space.roles import LINEAR_ROLES

N_TRIALS = 15
SHAPE = BackboneShape(
    n_layers=3,
    width=8,
    attention_width=8,
    kv_width=8,
    block_macs=384,
    role_shapes=tuple((role, (8, 8)) for role in LINEAR_ROLES),
)
SPACE = replace(
    default_space(SHAPE, HeadShape(n_outputs=2)),
    depth=(1, 2, 3),
    insertion=("all", "last"),
    roles=("query", "ffn"),
    kinds=("lora", "bottleneck"),
    rank=(2, 4, 8),
    experts=(1, 4),
    top_k=(1, 2),
    router=("token", "sequence"),
    token_keep=(1.0, 0.5),
    skip_layers=("upper_half", "last"),
    exits=("none", "middle"),
)


def new_study(storage=None):
    return optuna.create_study(
        study_name="s", storage=storage, directions=["maximize", "minimize"], load_if_exists=True
    )


def go_on(study, name, seed, n_trials):
    """Ask and tell until there are so many trials; some are pruned, some fail."""
    while (number := len(study.trials)) < n_trials:
        study.sampler = make_sampler(name, seed, number)
        trial = study.ask()
        spec, learning = SPACE.sample(trial)
        size = sum(adapter.rank for adapter in spec.adapters)
        if number % 5 == 3:
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 7 == 5:
            study.tell(trial, state=TrialState.FAIL)
        else:
            rate = learning.learning_rate or 0.0
            study.tell(trial, [spec.depth + size / 24 - abs(rate - 1e-3), spec.depth + size / 8])
    return [trial.params for trial in study.trials]


@pytest.fixture(params=sorted(SAMPLERS))
def name(request):
    return request.param


@cache
def reference(name):
    return go_on(new_study(), name, 1, N_TRIALS)


def test_runs_a_study_with_pruned_and_failed_trials_quietly(name, recwarn, capfd):
    params = reference(name)
    assert len(params) == N_TRIALS
    assert len({str(sorted(p.items())) for p in params}) > N_TRIALS / 2
    assert not recwarn.list
    assert "Warning" not in capfd.readouterr().err


def test_the_same_seed_gives_the_same_trials_and_another_gives_others(name):
    assert go_on(new_study(), name, 1, N_TRIALS) == reference(name)
    assert go_on(new_study(), name, 2, 4) != reference(name)[:4]


def test_a_study_that_is_interrupted_goes_on_as_one_that_is_not(name, tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    go_on(new_study(storage), name, 1, 11)
    assert go_on(new_study(storage), name, 1, N_TRIALS) == reference(name)
