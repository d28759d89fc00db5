"""The pages of a study: what is drawn, checked against independent computations, and when."""

import time
from datetime import timedelta

import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from search.front import pareto_front, trained
from search.importance import importances, quantile_of
from search.pages.clock import Clock
from search.pages.curves import bins_of, enough
from search.pages.knobs import OTHERS, Knob, knobs_of
from search.pages.layer_map import PASSES, RUNS, layer_map
from search.pages.pruning import rung_counts, saved
from search.pages.sensitivity import sensitivity_figure
from search.pages.table import PAGES
from search.pages.timeline import lanes_of
from search.spent import spent_by
from search.volume import volume_so_far, volumes
from space.adapter import Adapter, TokenSkip
from space.spec import AdapterSpec
from tests.search.finished_study import at_rung, finished_trials, snapshot_of, trial_of

MAX, MIN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
TRIALS = finished_trials(40)
SNAPSHOT = snapshot_of(TRIALS)


@pytest.mark.parametrize("name", PAGES)
class TestEveryPage:
    def test_needs_no_network_and_follows_light_and_dark(self, name):
        page = PAGES[name](SNAPSHOT)
        assert "<script src" not in page
        assert "<link" not in page
        assert '"showSendToCloud": false' in page
        assert "prefers-color-scheme: dark" in page
        assert len(page) < 2_200_000

    @pytest.mark.parametrize(
        "trials",
        [
            [],
            [trial_of(None, end="failed", n_epochs=0, reason="no memory")],
            [trial_of(None, end="pruned", n_epochs=1, **{"rung.1": at_rung(0.3, 0.5)})],
            [trial_of([0.7, 0.4])],
            [trial_of([0.7, 0.4], number=i) for i in range(12)],
        ],
        ids=["none", "failed", "pruned", "one", "equal"],
    )
    def test_says_in_words_where_there_is_nothing_to_draw(self, name, trials):
        page = PAGES[name](snapshot_of(trials))
        assert page.count("<h1>") == 1
        assert "<p>" in page or "plotly-packed" in page
        if not trials:
            assert "plotly-packed" not in page

    def test_escapes_what_a_user_chose(self, name):
        evil = "</script><script>alert(1)</script>"
        trials = [
            trial_of([0.5 + i / 40, 0.4 + i / 40], number=i, params={evil: i % 3}, baseline=evil)
            for i in range(12)
        ]
        page = PAGES[name](snapshot_of(trials, names=("accuracy", evil), study_name=evil))
        assert "<script>alert" not in page

    def test_draws_one_objective_and_three(self, name):
        one = snapshot_of(finished_trials(n_objectives=1), names=("accuracy",), directions=(MAX,))
        assert "<h1>" in PAGES[name](one)
        names = ("accuracy", "inference_gflops", "trainable_params")
        trials = finished_trials(n_objectives=3)
        three = snapshot_of(trials, names=names, directions=(MAX, MIN, MIN))
        assert "<h1>" in PAGES[name](three)


def test_the_volume_is_optunas_of_the_scaled_front_and_never_shrinks():
    grown = volumes(TRIALS, (MAX, MIN))
    values = np.array([t.values for t in trained(TRIALS)]) * [-1, 1]
    scaled = (values - values.min(axis=0)) / np.ptp(values, axis=0)
    front = scaled[[not ((scaled <= p).all(1) & (scaled < p).any(1)).any() for p in scaled]]
    wfg = optuna._hypervolume.compute_hypervolume(front, np.array([1.1, 1.1]))
    assert grown[-1].share == pytest.approx(wfg / 1.21)
    assert volume_so_far(TRIALS, (MAX, MIN)) == pytest.approx(grown[-1].share)
    shares = [volume.share for volume in grown]
    assert shares == sorted(shares)
    assert [v.trial.number for v in grown] == [t.number for t in trained(TRIALS)]


def test_the_volume_leaves_out_an_objective_in_which_all_are_equal():
    trials = [trial_of([0.5, 1.0], number=0), trial_of([0.7, 1.0], number=1)]
    assert [v.share for v in volumes(trials, (MAX, MIN))] == pytest.approx([0.1 / 1.1, 1.0])
    assert volumes([], (MAX, MIN)) == []


@pytest.mark.filterwarnings("ignore")
def test_importances_are_optunas():
    found = importances(trained(TRIALS), (MAX, MIN), SNAPSHOT.names)
    complete = [t for t in trained(TRIALS) if t.params]
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials(complete)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=quantile_of(len(complete))
    )
    wanted = optuna.importance.get_param_importances(
        study, evaluator=evaluator, target=lambda t: -t.values[0]
    )
    assert found["accuracy"] == pytest.approx(wanted)
    assert sum(found["inference_gflops"].values()) == pytest.approx(1.0)


def test_knobs_are_what_differs_between_the_structures():
    lora = Adapter(layer=1, role="query", kind="lora", rank=4, alpha=8.0)
    ffn = Adapter(layer=2, role="ffn", kind="bottleneck", rank=16)
    skip = TokenSkip(layer=2, token_keep=0.5, rank=2)
    specs = [
        AdapterSpec(depth=3, adapters=(lora,)),
        AdapterSpec(depth=3, adapters=(lora, ffn), skips=(skip,)),
        AdapterSpec(depth=3),
    ]
    knobs = {
        knob.title: knob.values
        for knob in knobs_of([trial_of([0.5, 1.0], spec=spec) for spec in specs])
    }
    assert "blocks that run" not in knobs
    assert knobs["mean rank"] == (4, 10, None)
    assert knobs["kinds"] == ("lora", "bottleneck + lora", "head only")
    assert "lowest adapted block" not in knobs
    assert knobs["tokens kept"] == (1.0, 0.5, 1.0)


def test_rare_choices_are_gathered():
    specs = [
        AdapterSpec(
            depth=9,
            adapters=tuple(
                Adapter(layer=0, role=role, kind="lora", rank=2, alpha=2.0) for role in roles
            ),
        )
        for roles in [
            [role for bit, role in enumerate(("query", "key", "value", "ffn_up")) if n >> bit & 1]
            for n in range(12)
        ]
    ]
    knobs = knobs_of([trial_of([0.5, 1.0], spec=spec) for spec in specs])
    roles = next(knob for knob in knobs if knob.title == "roles")
    assert len(set(roles.values)) == 8
    assert OTHERS in roles.values


def test_a_band_holds_numpys_quartiles_of_each_value():
    knob = Knob(title="rank", values=(2, 2, 2, 8, 8, 8, None))
    low, high = bins_of(knob, [1.0, 2.0, 6.0, 5.0, 7.0, 9.0, 100.0])
    assert (low.low, low.median, low.high) == tuple(np.quantile([1, 2, 6], [0.25, 0.5, 0.75]))
    assert (high.place, high.median, high.n_trials) == (8, 7.0, 3)


def test_many_values_fall_into_bins_of_about_equal_size():
    values = tuple(float(10**exponent) for exponent in np.linspace(3, 6, 40))
    bins = bins_of(Knob(title="trained parameters", values=values, log=True), list(range(40)))
    assert [found.n_trials for found in bins] == [5] * 8
    assert bins[0].stretch[0] == values[0]
    assert bins[-1].stretch[1] == values[-1]


def test_enough_is_the_first_bin_within_the_best_ones_quartiles():
    knob = Knob(title="rank", values=(1,) * 3 + (2,) * 3 + (4,) * 3)
    bins = bins_of(knob, [0.1, 0.2, 0.3, 0.7, 0.79, 0.8, 0.7, 0.8, 0.9])
    first, best = enough(bins, maximize=True)
    assert (first.place, best.place) == (2, 4)


def test_each_knob_has_a_plot_with_all_its_trials():
    knobs = knobs_of(SNAPSHOT.trained)
    values = [trial.values[0] for trial in SNAPSHOT.trained]
    figure = sensitivity_figure(knobs, values, "accuracy")
    axes = {trace["xaxis"] for trace in figure["data"]}
    assert len(axes) == len(knobs)
    dots = [trace for trace in figure["data"] if trace.get("mode") == "markers"]
    assert all(len(trace["y"]) == len(values) for trace in dots if "error_y" not in trace)


def test_the_map_counts_the_fronts_adapters():
    front = [t for t in pareto_front(TRIALS, (MAX, MIN)) if "baseline" not in t.user_attrs]
    specs = [AdapterSpec.from_json(t.user_attrs["spec"]) for t in front]
    found = layer_map(front)
    for role, cells in found.items():
        for layer, cell in enumerate(cells):
            if role == RUNS:
                assert cell.share == np.mean([spec.depth > layer for spec in specs])
                continue
            own = [a for s in specs for a in s.adapters if (a.role, a.layer) == (role, layer)]
            assert cell.share == pytest.approx(len(own) / len(specs))
            if own:
                assert cell.rank == pytest.approx(np.mean([a.rank for a in own]))
    skip = TokenSkip(layer=1, token_keep=0.5, rank=2)
    assert (
        layer_map([trial_of([1, 1], spec=AdapterSpec(depth=2, skips=(skip,)))])[PASSES][1].share
        == 1
    )


def test_rungs_count_who_reached_them_and_who_was_stopped():
    went_on = trial_of(
        [0.8, 0.4], number=0, **{"rung.1": at_rung(0.6, 0.4), "rung.2": at_rung(0.7, 0.4)}
    )
    stopped = trial_of(None, end="pruned", number=1, n_epochs=1, **{"rung.1": at_rung(0.3, 0.4)})
    first, second = rung_counts([went_on, stopped])
    assert (first.level, first.reached, first.stopped) == (1.0, 2, 1)
    assert (second.level, second.reached, second.stopped) == (2.0, 1, 0)


def test_the_page_of_pruning_says_what_stands_at_a_rung():
    compared = ("accuracy", "validation_loss")
    said = "What stands at a rung: validation accuracy, validation loss."
    assert said in PAGES["pruning.html"](snapshot_of(TRIALS, compared=compared))
    assert "at a rung" not in PAGES["pruning.html"](snapshot_of(TRIALS[:1], compared=compared))


def test_what_pruning_saved_is_the_epochs_left_at_the_trials_own_pace():
    metrics = {"train_s": 10.0, "training_gflops": 2.0}
    whole = trial_of([0.8, 0.4], number=0, metrics=metrics | {"train_s": 30.0})
    stopped = trial_of(None, end="pruned", number=1, n_epochs=1, metrics=metrics)
    spent, spared = saved(snapshot_of([whole, stopped], n_epochs=3, n_train=100))
    assert (spent.epochs, spent.seconds, spent.gflops) == (4.0, 40.0, 800.0)
    assert (spared.epochs, spared.seconds, spared.gflops) == (2.0, 20.0, 400.0)


def test_a_training_that_was_taken_up_again_is_counted_once():
    stopped = trial_of(None, end="pruned", number=0, n_epochs=1, metrics={"train_s": 10.0})
    later = trial_of([0.8, 0.4], number=1, metrics={"train_s": 30.0}, resumes=0)
    twin = trial_of([0.8, 0.4], number=2, metrics={"train_s": 30.0}, same_as=1)
    spent = [spent_by([stopped, later, twin], t, 1) for t in (stopped, later, twin)]
    assert [part.epochs for part in spent] == [1.0, 2.0, 0.0]
    assert [part.seconds for part in spent] == [10.0, 20.0, 0.0]


def test_pauses_are_cut_out_of_the_time_of_work():
    first, second = trial_of([0.8, 0.4], number=0), trial_of([0.8, 0.4], number=1)
    second.datetime_start = first.datetime_complete + timedelta(hours=5)
    second.datetime_complete = second.datetime_start + timedelta(minutes=2)
    took = (first.datetime_complete - first.datetime_start) / timedelta(minutes=1)
    clock = Clock([first, second])
    assert clock.total == pytest.approx(took + 2)
    assert clock.pauses == pytest.approx([took])


def test_trials_that_ran_at_once_stand_in_lanes_of_their_own():
    trials = [trial_of([0.8, 0.4], number=i) for i in range(3)]
    trials[1].datetime_start = trials[0].datetime_start + timedelta(seconds=1)
    assert lanes_of(trials) == {0: 1, 1: 2, 2: 1}


def test_a_trial_that_runs_is_drawn_until_now():
    running = trial_of([0.8, 0.4], number=0)
    running.state, running.datetime_complete, running.values = TrialState.RUNNING, None, None
    del running.user_attrs["end"]
    page = PAGES["timeline.html"](snapshot_of([running], status="running"))
    assert "running (1)" in page


def test_all_pages_of_two_thousand_trials_are_drawn_within_five_seconds():
    snapshot = snapshot_of(finished_trials(2000))
    began = time.process_time()
    for page in PAGES.values():
        page(snapshot)
    assert time.process_time() - began < 5
