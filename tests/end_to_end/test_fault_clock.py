"""The clock on the wall jumps by a day in the middle of a trial, and nothing takes harm."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from search.cli import main
from tests.end_to_end.tiny_study import environment, messages
from tests.end_to_end.worker_study import (
    check_complete,
    check_mlflow,
    trials_of,
    write_worker_study,
)

N_TRIALS = 5
LONG_S = 300
"""Much longer than all of this takes, and much shorter than the jump."""

# The command, in a process whose clock is set halfway through the second trial.
TRAVELLER = """
import sys
from datetime import datetime, timedelta

import time_machine

from search.cli import main
from search.progress import Progress

days, tick, jumps = int(sys.argv.pop()), Progress.tick, []


def setting_the_clock(self, trial, n_done, n_steps):
    if trial == 1 and n_done == n_steps // 2 and not jumps:
        moment = datetime.now().astimezone() + timedelta(days=days)
        jumps.append(time_machine.travel(moment))
        jumps[0].start()
    tick(self, trial, n_done, n_steps)


Progress.tick = setting_the_clock
main()
"""


def search_with_a_jump(folder, days):
    """Run `paradapt search` while its clock jumps; return what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", TRAVELLER, "search", "study.yaml", str(days)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    messages(done.stderr)
    assert "The study 'topics' is finished: all 5 trials of the budget are trained." in done.stdout
    return done


def child_runs(folder):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("topics").experiment_id
    return client, client.search_runs([experiment], max_results=100)


def check_durations(trials):
    """What is kept of how long things took knows nothing of the jump."""
    for trial in trials:
        metrics, history = trial.user_attrs["metrics"], trial.user_attrs["history"]
        took_s = trial.user_attrs["took_s"]
        assert 0 < metrics["train_s"] <= took_s < LONG_S
        epochs_s = [epoch["epoch_s"] for epoch in history]
        assert min(epochs_s) > 0 and sum(epochs_s) <= metrics["train_s"]
        assert 0 < metrics["latency_ms"] < LONG_S


def check_runs(folder):
    """All runs of plain MLflow's have ended, none before it began or a day later."""
    client, runs = child_runs(folder)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        took_ms = run.info.end_time - run.info.start_time
        day_ms = 0 if run.data.tags["paradapt.kind"] == "trial" else 86_400_000
        assert 0 <= took_ms < day_ms + 1000 * LONG_S
    return client, next(run for run in runs if run.data.tags["paradapt.kind"] == "study")


def figure(client, run, name, folder):
    """The plotly figure of a page that the study left in MLflow."""
    path = client.download_artifacts(run.info.run_id, f"{name}.html", str(folder))
    page = Path(path).read_text(encoding="utf-8")
    start = f'<script type="application/json" id="{name}-figure">'
    return json.loads(page.partition(start)[2].partition("</script>")[0])


def check_pages(client, parent, folder):
    """The pages that lie in time are drawn, and no span in them is negative or a day long."""
    bars = figure(client, parent, "timeline", folder)["data"]
    lengths = [length for bar in bars for length in bar["x"]]
    assert len(lengths) == N_TRIALS and min(lengths) > 0
    places = [begin for bar in bars for begin in bar["base"]]
    assert min(places) == 0 and max(places) + max(lengths) < LONG_S / 60
    assert {place for bar in bars for place in bar["y"]} == {1}
    curves = figure(client, parent, "hypervolume", folder)["data"]
    for curve in curves:
        assert curve["x"] == sorted(curve["x"]) and curve["y"] == sorted(curve["y"])


def paradapt(name, folder, *words):
    """Run a command here, where its libraries are loaded by now; return its standard output."""
    done = CliRunner().invoke(main, [name, str(folder / "study.yaml"), *map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    messages(done.stderr)
    return done.stdout


@pytest.mark.parametrize("days", [-1, 1], ids=["back", "forward"])
def test_a_day_more_or_less_is_no_time_of_work(tmp_path, days):
    write_worker_study(
        tmp_path,
        n_rows=120,
        space={"depth": [1, 2], "rank": [2, 4]},
        budget={"trials": N_TRIALS, "epochs": 2, "minutes": 60},
        training={"batch_size": 16},
    )
    search_with_a_jump(tmp_path, days)
    storage = f"sqlite:///{tmp_path / 'paradapt.db'}"
    trials = trials_of(storage)
    spans = [trial.datetime_complete - trial.datetime_start for trial in trials]
    assert [round(span / timedelta(days=1)) for span in spans] == [0, days, 0, 0, 0]
    check_complete(trials, N_TRIALS)
    check_durations(trials)
    check_mlflow(tmp_path, trials)
    check_pages(*check_runs(tmp_path), tmp_path)

    # What would be left of twice the budget, were the study running.
    status = paradapt("status", tmp_path, "--json", "--set", f"budget.trials={2 * N_TRIALS}")
    assert 0 < json.loads(status)["seconds_left"] < LONG_S
    assert "5 of 5 trials" in paradapt("status", tmp_path)
    output = tmp_path / "report.md"
    paradapt("report", tmp_path, "--format", "markdown", "--output", output)
    assert output.read_text(encoding="utf-8").startswith("#")

    # The clock is right again: it has jumped once more, between two runs of the command.
    paradapt("search", tmp_path, "--trials", N_TRIALS + 1)
    after = trials_of(storage)
    check_complete(after, N_TRIALS + 1)
    assert after[:N_TRIALS] == trials
    check_mlflow(tmp_path, after)
