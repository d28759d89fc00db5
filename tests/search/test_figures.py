"""The Pareto figure, its page and its table: what is drawn, and that user text stays text."""

import csv
import io

import plotly.graph_objects as go
import pytest
from optuna.study import StudyDirection

from search.confirmed import Confirmed, ConfirmedRun
from search.front import knee, pareto_front
from search.objectives import formatted, title_of
from search.pages.pareto import NOTHING, pareto_csv, pareto_html
from search.pages.pareto_figure import pareto_figure
from tests.search.finished_study import at_rung, finished_trials, snapshot_of, trial_of

MAX, MIN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
DIRECTIONS = (MAX, MIN)
NAMES = ("accuracy", "inference_gflops")
TRIALS = finished_trials()
FRONT = pareto_front(TRIALS, DIRECTIONS)
SNAPSHOT = snapshot_of(TRIALS)


def figure_of(snapshot):
    """What is drawn, as plotly reads it: it refuses what it does not know."""
    return go.Figure(pareto_figure(snapshot))


def trace(figure, start):
    return next(trace for trace in figure.data if trace.name.startswith(start))


def test_the_front_is_drawn_as_a_staircase_over_what_it_dominates():
    drawn = trace(figure_of(SNAPSHOT), "Pareto front")
    assert list(drawn.x) == [trial.values[1] for trial in FRONT]
    assert list(drawn.y) == [trial.values[0] for trial in FRONT]
    assert drawn.line.shape == "hv"


def test_the_stairs_turn_with_the_direction():
    drawn = trace(figure_of(snapshot_of(TRIALS, directions=(MAX, MAX))), "Pareto front")
    assert drawn.line.shape == "vh"


def test_every_complete_trial_is_drawn_once_beside_front_and_baselines():
    figure = figure_of(SNAPSHOT)
    complete = [t for t in TRIALS if t.user_attrs["end"] == "complete"]
    special = {t.number for t in [*FRONT, *complete[:3]]}
    assert len(trace(figure, "complete").x) == len(complete) - len(special)
    assert [t.name for t in figure.data if t.name.startswith("baseline")] == [
        "baseline: head only",
        "baseline: LoRA",
        "baseline: bottleneck",
    ]


def test_pruned_trials_stand_where_their_last_rung_left_them():
    rungs = {f"rung.{level}": at_rung(x, 0.5) for level, x in ((1, 0.3), (10, 0.5), (4, 0.4))}
    pruned = trial_of(None, end="pruned", reason="rank 3", number=9, **rungs)
    drawn = trace(figure_of(snapshot_of([*TRIALS[:3], pruned])), "pruned")
    assert (list(drawn.x), list(drawn.y)) == ([0.5], [0.5])
    assert "pruned: rank 3" in drawn.text[0]


def test_the_hover_text_names_trial_structure_objectives_and_learning():
    text = trace(figure_of(SNAPSHOT), "Pareto front").text[0]
    first = FRONT[0]
    for part in (
        f"trial {first.number}",
        f"{first.values[0]:.2%}",
        "depth",
        "learning rate",
        "trained for",
    ):
        assert part in text


def test_the_knee_is_ringed_and_named():
    figure = figure_of(SNAPSHOT)
    chosen = knee(FRONT, DIRECTIONS)
    assert f"knee: trial {chosen.number}" in figure.layout.annotations[0].text
    assert list(trace(figure, "knee").x) == [chosen.values[1]]


def test_no_two_labels_of_the_front_lie_on_each_other():
    close = [trial_of([0.8 + i / 1000, 0.5 + i / 1000], number=i) for i in range(30)]
    drawn = trace(figure_of(snapshot_of(close)), "Pareto front")
    shown = [x for x, label in zip(drawn.x, drawn.customdata, strict=True) if label]
    assert 5 < len(shown) < 25


def test_a_third_objective_is_colour():
    trials = finished_trials(n_objectives=3)
    names = (*NAMES, "trainable_params")
    figure = figure_of(snapshot_of(trials, directions=(MAX, MIN, MIN), names=names))
    front = pareto_front(trials, (MAX, MIN, MIN))
    drawn = trace(figure, "Pareto front")
    assert list(drawn.marker.color) == [trial.values[2] for trial in front]
    assert "lines" not in drawn.mode
    n_pruned = sum(trial.user_attrs["end"] == "pruned" for trial in trials)
    assert len(trace(figure, "pruned").x) == n_pruned > 0
    title = figure.layout.coloraxis.colorbar.title.text
    assert title == "trainable parameters, lower is better"


def test_one_objective_is_drawn_over_the_trials():
    figure = figure_of(
        snapshot_of(finished_trials(n_objectives=1), directions=(MAX,), names=NAMES[:1])
    )
    assert figure.layout.xaxis.title.text == "trial"


def test_axes_have_units_and_shares_are_percent():
    figure = figure_of(SNAPSHOT)
    title = "inference cost (GFLOPs per sample), lower is better"
    assert figure.layout.xaxis.title.text == title
    assert figure.layout.yaxis.tickformat.endswith("%")


@pytest.mark.parametrize(
    ("name", "title", "value", "text"),
    [
        ("accuracy", "validation accuracy", 0.83417, "83.42%"),
        ("trainable_params", "trainable parameters", 148224.0, "148,224"),
        ("bleu", "bleu", 0.5, "0.5"),
    ],
)
def test_metrics_are_named_and_written_for_readers(name, title, value, text):
    assert (title_of(name), formatted(name, value)) == (title, text)


def test_the_page_needs_no_network_and_uploads_nothing():
    page = pareto_html(SNAPSHOT)
    assert len(page) > 1_900_000
    assert "<script src" not in page
    assert "<link" not in page
    assert '"showSendToCloud": false' in page
    assert "prefers-color-scheme: dark" in page


def test_text_of_the_user_is_escaped():
    evil = "</script><script>alert(1)</script>"
    trials = [trial_of([0.8, 0.4], number=0, baseline=evil), *TRIALS[1:]]
    page = pareto_html(snapshot_of(trials, names=("accuracy", evil), study_name=evil))
    assert "<script>alert" not in page


@pytest.mark.parametrize("trials", [[], [trial_of(None, end="failed")]])
def test_an_empty_study_says_so(trials):
    page = pareto_html(snapshot_of(trials))
    assert NOTHING in page
    assert "plotly" not in page
    assert pareto_csv(snapshot_of(trials)).count("\n") == 1


def test_the_table_holds_the_front_with_all_metrics_in_full():
    rows = list(csv.DictReader(io.StringIO(pareto_csv(SNAPSHOT))))
    assert [int(row["trial"]) for row in rows] == [trial.number for trial in FRONT]
    assert [float(row["accuracy"]) for row in rows] == [trial.values[0] for trial in FRONT]
    assert [row["trial"] for row in rows if row["knee"]] == [str(knee(FRONT, DIRECTIONS).number)]
    assert {"structure", "learning_rate", "train_s", "trainable_params", "spec"} <= set(rows[0])


def test_the_label_of_the_knee_has_room_above_the_highest_point():
    trials = [trial_of([0.78, 0.05], number=0), trial_of([0.1, 0.1], number=1)]
    figure = figure_of(snapshot_of(trials))
    (low, high), label = figure.layout.yaxis.range, figure.layout.annotations[0]
    least_px = 300 * (high - 0.78) / (high - low)
    assert least_px > -label.ay + 12  # half a line of text above the arrow's end


def test_what_was_exported_last_is_framed():
    chosen = FRONT[0].number
    drawn = trace(figure_of(snapshot_of(TRIALS, chosen=chosen)), "exported last")
    assert list(drawn.x) == [FRONT[0].values[1]]


def test_trials_that_break_a_bound_are_crosses():
    broken = trial_of([0.9, 0.3], number=9)
    broken.set_user_attr("end", "infeasible")
    drawn = trace(figure_of(snapshot_of([*TRIALS[:3], broken])), "breaks a bound")
    assert (list(drawn.x), list(drawn.y)) == ([0.3], [0.9])


def test_confirmed_points_have_error_bars_of_their_interval():
    runs = tuple(
        ConfirmedRun(key="trial-7", seed=seed, metrics={"accuracy": value, "inference_gflops": 0.4})
        for seed, value in enumerate((0.70, 0.72, 0.77))
    )
    point = Confirmed(key="trial-7", title="trial 7", trial=7, baseline=None, runs=runs)
    figure = figure_of(snapshot_of(TRIALS, confirmed=(point,), tested="accuracy"))
    drawn = trace(figure, "confirmed on the test split")
    low, high = point.interval("accuracy")
    assert (drawn.x[0], drawn.y[0]) == pytest.approx((0.4, 0.73))
    assert drawn.y[0] - drawn.error_y.arrayminus[0] == pytest.approx(low)
    assert drawn.y[0] + drawn.error_y.array[0] == pytest.approx(high)
    assert "3 seeds" in drawn.text[0]
