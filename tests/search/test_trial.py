"""One trial with early exits and experts: what is kept of it, and when bounds are checked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from search.driver import Observer, run_study
from search.exits import exit_metric, row_gflops
from search.objectives import known_costs
from search.store import open_study
from space.cost import TokenStats
from space.spec import AdapterSpec

QUIET = Observer(tick=lambda *_: None, ended=lambda *_: None)
EXITS = {
    "depth": [2],
    "insertion": ["last"],
    "roles": ["query"],
    "kinds": ["lora"],
    "rank": [2],
    "pooling": ["mean"],
    "exits": ["none", "middle"],
    "learning_rate": 1e-3,
}
EXPERTS = EXITS | {"exits": ["none"], "experts": [1, 4], "top_k": [2], "router": ["token"]}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def run(context_of):
    """Return a function that runs given parameters, one trial each; context and trials."""

    def go(*params, **changes):
        budget = {"trials": len(params), "epochs": 1}
        context = context_of(**({"baselines": [], "budget": budget} | changes))
        stored = open_study(context)
        for values in params:
            stored.enqueue_trial(values)
        run_study(context, stored, QUIET)
        return context, stored.get_trials()

    return go


def exits(choice, kind="lora"):
    return {"query_kind": kind, "exits": choice}


class TestEarlyExits:
    def test_a_trial_stands_for_the_point_that_was_chosen(self, run):
        context, (plain, early) = run(exits("none"), exits("middle"), space=EXITS)
        assert "exit_curve" not in plain.user_attrs
        attributes = early.user_attrs
        curve = attributes["exit_curve"]
        (point,) = [p for p in curve if p["threshold"] == attributes["exit_threshold"]]
        assert early.values == [point["value"], point["mean_gflops"]]
        assert attributes["metrics"]["macro_f1"] == point["metrics"]["macro_f1"]
        best = curve[0]["value"] - context.study.training.exit_tolerance
        assert point["value"] >= best
        assert point["mean_gflops"] == min(p["mean_gflops"] for p in curve if p["value"] >= best)

    def test_a_curve_goes_from_the_whole_to_the_first_exit(self, run):
        context, (trial,) = run(exits("middle"), space=EXITS)
        spec = AdapterSpec.from_json(trial.user_attrs["spec"])
        behind = context.cost.gflops_behind(spec)
        curve = trial.user_attrs["exit_curve"]
        assert curve[0]["shares"] == [0, 1] and curve[-1]["shares"] == [1, 0]
        assert curve[0]["mean_gflops"] == pytest.approx(behind[1])
        # The validation rows are scaled to the training rows, whose lengths are a little others.
        assert curve[-1]["mean_gflops"] == pytest.approx(behind[0], rel=0.02)
        last = trial.user_attrs["history"][-1]
        assert curve[0]["value"] == pytest.approx(last["accuracy"])

    def test_with_a_great_tolerance_all_rows_leave_at_once(self, run):
        _, (trial,) = run(exits("middle"), space=EXITS, training={"exit_tolerance": 1.0})
        assert trial.values[1] == trial.user_attrs["exit_curve"][-1]["mean_gflops"]

    def test_every_row_has_the_cost_of_its_own_length(self, context_of):
        context = context_of(space=EXITS)
        spec = AdapterSpec(depth=2, exits=(1,))
        costs = row_gflops(context, spec)
        assert costs.shape == (len(context.validation), 2)
        assert costs[:, 1].mean().item() == pytest.approx(context.cost.inference_gflops(spec))
        assert (costs[:, 0] < costs[:, 1]).all() and (costs.diff(dim=0) >= 0).all()
        lengths = np.sort(context.validation.lengths)
        same = [replace(context.cost, tokens=TokenStats.of([n])) for n in lengths.tolist()]
        ratio = torch.tensor([cost.inference_gflops(spec) for cost in same]) / costs[:, 1]
        assert ratio.min().item() == pytest.approx(ratio.max().item())

    def test_the_metric_is_the_first_objective_where_that_tells_quality(self, context_of):
        objectives = [{"maximize": "macro_f1"}, {"minimize": "inference_gflops"}]
        assert exit_metric(context_of(objectives=objectives)) == "macro_f1"
        assert exit_metric(context_of(objectives=objectives[::-1])) == "accuracy"

    def test_a_bound_on_their_cost_is_checked_when_it_is_known(self, run, context_of):
        context = context_of(space=EXITS)
        behind = context.cost.gflops_behind(AdapterSpec(depth=2, exits=(1,)))
        limit = sum(behind) / 2
        _, (plain, early) = run(
            exits("none"),
            exits("middle"),
            space=EXITS,
            training={"exit_tolerance": 1.0},
            constraints=[{"inference_gflops": {"max": limit}}],
            budget={"trials": 1, "epochs": 1},
        )
        assert plain.user_attrs["end"] == "infeasible" and "history" not in plain.user_attrs
        assert early.user_attrs["end"] == "complete" and early.values[1] < limit
        (violation,) = early.constraints.values()
        assert violation == early.values[1] - limit

    def test_a_bound_that_their_mean_cost_breaks_is_told_after_training(self, run, context_of):
        behind = context_of(space=EXITS).cost.gflops_behind(AdapterSpec(depth=2, exits=(1,)))
        _, (early,) = run(
            exits("middle"),
            space=EXITS,
            constraints=[{"inference_gflops": {"max": behind[0] / 2}}],
        )
        assert early.user_attrs["end"] == "infeasible" and "history" in early.user_attrs

    def test_other_costs_bar_it_before_training(self, run):
        _, trials = run(
            exits("middle"),
            exits("none", kind="off"),
            space=EXITS,
            constraints=[{"trainable_params": {"max": 150}}],
            budget={"trials": 1, "epochs": 1},
        )
        assert [t.user_attrs["end"] for t in trials] == ["infeasible", "complete"]
        assert "history" not in trials[0].user_attrs


class TestExperts:
    def test_the_load_of_every_adapter_is_kept(self, run):
        params = {"query_kind": "lora", "query_experts": 4}
        _, (sparse, plain) = run(params, params | {"query_experts": 1}, space=EXPERTS)
        (routing,) = sparse.user_attrs["routing"]
        assert (routing["layer"], routing["role"]) == (1, "query")
        assert len(routing["load"]) == 4 and sum(routing["load"]) == pytest.approx(1)
        assert "routing" not in plain.user_attrs

    def test_an_equal_trial_has_them_too(self, run):
        params = {"query_kind": "lora", "query_experts": 4}
        _, trials = run(params, params, space=EXPERTS, budget={"trials": 1, "epochs": 1})
        first = trials[0]
        _, trials = run(params, params, space=EXPERTS)
        twin = next(t for t in trials if t.user_attrs.get("same_as") == first.number)
        assert twin.user_attrs["routing"] == first.user_attrs["routing"]

    def test_an_equal_trial_with_exits_has_their_curve(self, run):
        _, trials = run(
            exits("middle"),
            exits("middle"),
            exits("none"),
            space=EXITS,
            budget={"trials": 2, "epochs": 1},
        )
        first, twin = trials[:2]
        assert twin.user_attrs["same_as"] == 0 and twin.values == first.values
        for name in ("exit_curve", "exit_threshold"):
            assert twin.user_attrs[name] == first.user_attrs[name]


def test_the_costs_known_before_training_are_those_of_the_cost_model(context_of):
    context = context_of(space=EXITS)
    spec = AdapterSpec(depth=2, exits=(1,))
    assert known_costs(spec, context.cost) == {
        "inference_gflops": context.cost.gflops_behind(spec)[-1],
        "training_gflops": context.cost.training_gflops(spec),
        "trainable_params": 2 * (32 * 3 + 3),
        "adapter_mib": context.cost.adapter_mib(spec),
    }
