"""From coarse to fine: which ranks a trial is asked for, and what a stage begins with."""

from dataclasses import replace

import pytest

from search.driver import Observer, run_study
from search.front import pareto_front
from search.granularity import GRANULARITY, first_of_stage, space_of, stage_of
from search.proposals import next_trial
from search.retries import recover
from search.store import open_study
from space.replay import params_for
from space.search_space import Learning
from space.size import n_structures
from space.spec import AdapterSpec
from tests.space.test_search_space_parts import SPACE

FINE = replace(SPACE, granularity="coarse-to-fine")
QUIET = Observer(tick=lambda *_: None, ended=lambda *_: None)


@pytest.mark.parametrize(
    ("n_trials", "expected"),
    [
        (1, ["global"]),
        (2, ["global", "group"]),
        (4, ["global", "global", "group", "layer"]),
        (5, ["global", "global", "global", "group", "layer"]),
        (8, ["global"] * 4 + ["group"] * 2 + ["layer"] * 2),
        (40, ["global"] * 20 + ["group"] * 10 + ["layer"] * 10),
    ],
)
def test_half_of_the_budget_is_coarse_and_a_quarter_each_finer(n_trials, expected):
    assert [stage_of(FINE, n, n_trials) for n in range(n_trials)] == expected
    assert stage_of(FINE, n_trials + 3, n_trials) in ("group", "layer")


def test_another_space_has_no_stages():
    assert stage_of(SPACE, 3, 8) is None


def test_the_whole_space_is_that_of_the_finest_stage():
    assert n_structures(FINE) == n_structures(FINE.at("layer")) > n_structures(FINE.at("global"))
    assert FINE.rank_place("query", 1) == FINE.at("layer").rank_place("query", 1)


@pytest.fixture
def context(context_of):
    """A study of eight trials on a space of three ranks."""
    return context_of(
        baselines=["lora_all"],
        space={
            "depth": [2],
            "insertion": ["all"],
            "roles": ["query", "value"],
            "kinds": ["lora"],
            "rank": [2, 4, 8],
            "granularity": "coarse-to-fine",
            "pooling": ["mean"],
            "learning_rate": {"low": 1e-3, "high": 1e-2},
        },
        budget={"trials": 8, "epochs": 1},
        sampler="random",
    )


@pytest.fixture
def finished(context):
    """The study at its end, and its trials."""
    stored = open_study(context)
    run_study(context, stored, QUIET)
    return context, stored, stored.get_trials()


def test_a_study_goes_from_stage_to_stage_and_seeds_each_with_its_front(finished):
    context, stored, trials = finished
    stages = [trial.user_attrs[GRANULARITY] for trial in trials]
    assert stages == sorted(stages, key=["global", "group", "layer"].index)
    assert set(stages) == {"global", "group", "layer"}
    for stage in ("group", "layer"):
        first = stages.index(stage)
        front = pareto_front(trials[:first], stored.directions)
        seeds = trials[first : first + len(front)]
        assert [t.user_attrs["same_as"] for t in seeds] == [t.number for t in front]
        assert [t.values for t in seeds] == [t.values for t in front]
        assert first_of_stage(context.space, stage, trials, stored.directions) == []


def test_a_trial_that_is_run_again_stays_in_its_stage(context):
    stored = open_study(context)
    first = stored.ask()
    first.set_user_attr(GRANULARITY, "group")
    space_of(context.space, first).sample(first)
    recover(context, stored)
    again, _ = next_trial(context, stored, lambda *_: None)
    assert again.user_attrs == {"retry_of": 0, "losses": 1, GRANULARITY: "group"}
    assert space_of(context.space, again) == context.space.at("group")


def test_every_structure_lies_in_the_space_of_its_stage(finished):
    context, _, trials = finished
    for trial in trials:
        space = context.space.at(trial.user_attrs[GRANULARITY])
        spec = AdapterSpec.from_json(trial.user_attrs["spec"])
        learning = Learning(**trial.user_attrs["learning"])
        assert params_for(space, spec, learning) == trial.params


def test_no_parameter_ever_changes_its_choices(finished):
    _, _, trials = finished
    found = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            assert found.setdefault(name, distribution) == distribution
