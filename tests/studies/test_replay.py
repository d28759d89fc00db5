"""Replaying studies on a table whose right answers are known."""

import itertools
from dataclasses import replace

import pytest

from search.pruners import make_pruner
from studies.benchmarks.curves import curves_of
from studies.benchmarks.grid import grid_points
from studies.benchmarks.replay import ROWS, SAMPLERS, Job, Row, outcome_of
from studies.benchmarks.report import BEGIN, END, tables, write_between_markers
from studies.benchmarks.scores import Mean, Outcome, by_seed, p_of_difference
from studies.benchmarks.simulate import Budget, simulate
from studies.benchmarks.trainings import DATA_SETS, EPOCHS, POINTS
from tests.studies.synthetic import FACTS

NONE = make_pruner("none")
RANDOM = SAMPLERS["random"]
BEST = [
    {"depth": depth, "insertion": "last", "kind": "lora", "lora_roles": "qv"}
    for depth in range(1, 7)
]
"""Merged LoRA: at every depth as cheap as none, and the most accurate."""
BEST = [{**params, "rank": 2, "experts": 1} for params in BEST]


def best_structures():
    return [p.spec.to_json() for params in BEST for p in grid_points() if p.params == params]


def brute_force_volume(values, reference):
    """The area that values dominate, cell by cell of the grid that their coordinates make."""
    accuracies = sorted({a for a, _ in values if a > reference[0]} | {reference[0]})
    costs = sorted({c for _, c in values if c < reference[1]} | {reference[1]})
    return sum(
        (high - low) * (right - left)
        for low, high in itertools.pairwise(accuracies)
        for left, right in itertools.pairwise(costs)
        if any(a >= high and c <= left for a, c in values)
    )


class TestCurves:
    def test_the_front_of_all_is_the_known_one(self, curves):
        front = curves.front_of(list(curves.searched))
        depths = {point.spec.to_json(): point.spec.depth for point in grid_points()}
        assert set(best_structures()) <= set(front)
        assert {curves.searched[s].final for s in front} == {
            curves.searched[s].final for s in best_structures()
        }
        assert sorted({depths[s] for s in front}) == [1, 2, 3, 4, 5, 6]

    def test_a_share_is_the_part_of_the_whole_hypervolume(self, curves):
        some = best_structures()[:3]
        finals = [curve.final for curve in curves.searched.values()]
        ours = brute_force_volume([curves.searched[s].final for s in some], curves.reference)
        best = brute_force_volume(finals, curves.reference)
        assert curves.searched_share(some) == pytest.approx(ours / best)
        assert curves.searched_share(best_structures()) == pytest.approx(1)

    def test_a_point_that_the_table_has_not_is_an_error(self, curves):
        curve = next(iter(curves.searched.values()))
        assert curve.at(0.333333) == curve.at(POINTS[0])
        with pytest.raises(ValueError, match=r"0\.5"):
            curve.at(0.5)

    def test_search_and_check_are_the_two_seeds(self, table):
        table.loc[table["seed"] == 1, "accuracy"] += 0.01
        both = curves_of(table, {name: own["rows"] for name, own in FACTS["data"].items()})
        assert [(c.data, c.seed) for c in both] == [(d, s) for d in DATA_SETS for s in (0, 1)]
        assert both[0].searched == both[1].checked
        assert both[0].checked == both[1].searched
        assert both[0].reference == both[1].reference


class TestSimulating:
    def test_the_known_best_structures_reach_all_there_is(self, curves):
        steps = simulate(curves, RANDOM, NONE, 0, Budget(trainings=6), BEST)
        assert [step.structure for step in steps] == best_structures()
        assert steps[-1].searched == steps[-1].checked == pytest.approx(1)
        cost = sum(EPOCHS * curves.searched[s].epoch_gflops for s in best_structures())
        assert steps[-1].gflops == pytest.approx(cost)

    def test_the_second_of_equal_structures_costs_nothing(self, curves):
        steps = simulate(curves, RANDOM, NONE, 0, Budget(trainings=3), [BEST[0], BEST[0], BEST[1]])
        assert [step.structure for step in steps][:2] == best_structures()[:2]

    def test_it_ends_where_the_space_is_spent(self, curves):
        steps = simulate(curves, RANDOM, NONE, 0, Budget())
        assert len({step.structure for step in steps}) == len(steps)
        assert 200 < len(steps) <= len(grid_points())
        assert steps[-1].searched > 0.9

    def test_what_is_not_in_the_table_is_passed_over(self, curves):
        left = {s: c for s, c in curves.searched.items() if s not in best_structures()[:5]}
        some = replace(curves, searched=left)
        steps = simulate(some, SAMPLERS["tpe"], NONE, 0, Budget(trainings=12), BEST)
        assert steps[0].structure == best_structures()[5]
        assert len(steps) == 12

    @pytest.mark.parametrize("name", ["pareto-halving", "accuracy-halving"])
    def test_a_pruned_training_costs_as_much_as_was_trained(self, curves, name):
        pruner = make_pruner(name, reduction=3, first_rung=1 / 3)
        steps = simulate(curves, RANDOM, pruner, 0, Budget(trainings=60))
        spent = 0.0
        for step in steps:
            spent += step.epochs * curves.searched[step.structure].epoch_gflops
            assert step.gflops == pytest.approx(spent)
            assert step.epochs in (pruner.rungs(EPOCHS) if step.pruned else (EPOCHS,))
        assert 0 < sum(step.pruned for step in steps) < 60

    def test_the_front_of_the_whole_table_is_never_pruned(self, curves):
        # Curves of one shape: who is on the table's front is on the front of every rung.
        front = set(curves.front_of(list(curves.searched)))
        steps = simulate(curves, RANDOM, make_pruner("pareto-halving"), 1, Budget(trainings=80))
        assert front & {step.structure for step in steps}
        assert not front & {step.structure for step in steps if step.pruned}

    def with_losses(self, curves, of):
        searched = {
            structure: replace(curve, losses=dict.fromkeys(curve.losses, of(curve)))
            for structure, curve in curves.searched.items()
        }
        return replace(curves, searched=searched)

    def pruned_twice(self, curves):
        """A study by objectives and loss, and one by the objectives alone."""
        pruner = make_pruner("pareto-halving")
        return (
            simulate(curves, RANDOM, pruner, 0, Budget(trainings=60), with_loss=with_loss)
            for with_loss in (True, False)
        )

    def test_a_loss_that_is_the_same_for_all_changes_nothing(self, curves):
        by_both, by_objectives = self.pruned_twice(self.with_losses(curves, lambda curve: 1.0))
        assert by_both == by_objectives
        assert any(step.pruned for step in by_both)

    def test_who_is_ahead_in_loss_alone_goes_on(self, curves):
        """The more a structure costs the less its loss: none is behind a cheaper one in all."""
        made = self.with_losses(curves, lambda curve: -curve.inference_gflops)
        by_both, by_objectives = self.pruned_twice(made)
        n_both, n_objectives = (sum(s.pruned for s in ss) for ss in (by_both, by_objectives))
        assert n_both < n_objectives / 2

    def test_the_same_seed_gives_the_same_study(self, curves):
        one, other = (
            simulate(curves, SAMPLERS["tpe"], NONE, 5, Budget(trainings=12)) for _ in range(2)
        )
        assert one == other


class TestScores:
    ONE = Outcome(gflops=[1, 2, 4], searched=[0.2, 0.5, 0.8], checked=[0.1, 0.4, 0.3], n_pruned=0)
    TWO = Outcome(gflops=[1, 5, 9], searched=[0.1, 0.6, 0.9], checked=[0, 0, 0], n_pruned=2)

    def test_a_training_counts_once_it_has_ended(self):
        assert [self.ONE.at(g) for g in (0.5, 1, 3.9, 4, 100)] == [0, 0.2, 0.5, 0.8, 0.8]
        assert self.ONE.at(4, checked=True) == 0.3

    def test_the_share_to_reach(self):
        assert self.ONE.share_to_reach(self.ONE) == 1
        assert replace(self.TWO, searched=[0.1, 0.5, 0.5]).share_to_reach(self.ONE) == 1
        early = replace(self.ONE, searched=[0.2, 0.9, 0.95])
        assert early.share_to_reach(self.ONE) == 0.5
        assert early.reaches(self.ONE)

    def test_what_was_reached_too_late_counts_as_not_reached(self):
        assert self.TWO.share_to_reach(self.ONE) == 1
        assert not self.TWO.reaches(self.ONE)

    def test_with_foresight_what_adds_nothing_is_stopped_at_the_rung(self):
        study = Outcome(
            gflops=[3, 6, 9, 12], searched=[0.2, 0.2, 0.5, 0.5], checked=[0] * 4, n_pruned=0
        )
        assert study.share_with_foresight(1 / 3) == pytest.approx((3 + 1 + 3) / 12)
        assert study.share_with_foresight(1.0) == pytest.approx(9 / 12)
        assert self.ONE.share_with_foresight(1 / 3) == 1.0

    def test_means_and_their_intervals(self):
        assert Mean.of([0.5] * 30) == Mean(value=0.5, low=0.5, high=0.5)
        spread = Mean.of([0.0, 1.0] * 50)
        assert spread.value == 0.5
        assert spread.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
        assert spread.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)

    def test_a_difference_is_tested_in_pairs(self):
        assert p_of_difference([0.1] * 30, [0.1] * 30) == 1
        assert p_of_difference([i + 0.1 for i in range(30)], list(range(30))) < 1e-4

    def test_data_sets_are_averaged_within_a_seed(self):
        outcomes = [[self.ONE, self.TWO], [self.TWO, self.TWO]]
        assert by_seed(outcomes, lambda d, s: outcomes[d][s].end()) == pytest.approx([0.85, 0.9])


class TestRows:
    def test_every_sampler_meets_every_pruner_and_no_row_stands_twice(self):
        pairs = {(row.sampler, row.pruner) for row in ROWS}
        halvings = ("none", "accuracy-halving", "pareto-halving")
        assert {(s, p) for s in SAMPLERS for p in halvings} <= pairs
        assert len(set(ROWS)) == len(ROWS)

    def test_a_pruned_study_spends_as_much_as_the_same_without(self, whole_table):
        found = curves_of(whole_table, dict.fromkeys(DATA_SETS, 1000))
        job = Job(row=Row(sampler="random", pruner="pareto-halving"), data="banking77", replay=1)
        plain = outcome_of(job.unpruned, found, None)
        pruned = outcome_of(job, found, plain)
        assert len(plain.gflops) == 40
        assert len(pruned.gflops) > 40
        assert pruned.gflops[-2] < plain.gflops[-1] <= pruned.gflops[-1]

    def test_settings_that_are_the_defaults_are_replayed_once(self):
        plain = Row(sampler="tpe", pruner="pareto-halving")
        default = make_pruner("pareto-halving")
        same = replace(plain, reduction=default.reduction, first_rung=default.first_rung)
        other = replace(plain, reduction=default.reduction + 1)
        keys = {Job(row=row, data="docstrings", replay=0).key for row in (plain, same, other)}
        assert len(keys) == 2

    def test_the_tables_have_a_line_for_every_comparison(self):
        rows = [Row(sampler="random", n_seeds=3), Row(sampler="tpe", n_seeds=3)]
        rows += [replace(rows[1], pruner=p) for p in ("accuracy-halving", "pareto-halving")]
        outcomes = (TestScores.ONE, TestScores.TWO, TestScores.TWO, TestScores.ONE)
        found = {
            row: {data: [outcome] * 3 for data in DATA_SETS}
            for row, outcome in zip(rows, outcomes, strict=True)
        }
        text = tables(found)
        assert (
            "| tpe | 3 | 0.900 [0.900, 0.900] | 0.000 [0.000, 0.000] | 0.100 [0.100, 0.100]" in text
        )
        # 0.8 is below 0.9, which the unpruned study reached.
        assert "| tpe, pareto-halving | 3 | 1.000 [1.000, 1.000] | 0 of 6 | -0.100" in text
        assert text.count("| tpe, pareto-halving |") == 2
        assert text.count("| tpe, accuracy-halving |") == 1

    def test_tables_are_written_between_the_markers_and_nowhere_else(self, tmp_path):
        path = tmp_path / "README.md"
        path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
        for _ in range(2):
            write_between_markers(path, "new")
        assert path.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
        path.write_text("no markers")
        with pytest.raises(ValueError, match="once each"):
            write_between_markers(path, "new")
