"""The whole main road by the real command on the real backbone, read back by others' clients."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from safetensors import safe_open

from search.cli import main
from tests.end_to_end.tiny_study import COMMAND, listing, paradapt, write_rows, write_study

# Runs in the command's own process: what Python code opens a socket is noted.
SPY = """
import sys

NOTES = {notes!r}

def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(NOTES, "a") as file:
            file.write(f"{{event}} {{arguments}}\\n")

with open(NOTES, "a") as file:
    file.write("listening\\n")
sys.addaudithook(note)
"""
N_TRIALS, N_EPOCHS = 5, 2


class Place:
    """A folder in which the command ran, and what it left there."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "study"
        self.folder.mkdir()
        self.home, self.temporary = root / "home", root / "temporary"
        self.home.mkdir()
        self.temporary.mkdir()
        self.notes = root / "notes.txt"
        (root / "site").mkdir()
        (root / "site" / "sitecustomize.py").write_text(SPY.format(notes=str(self.notes)))
        self.site = root / "site"
        self.study_file = write_study(self.folder, budget={"trials": N_TRIALS, "epochs": N_EPOCHS})
        write_rows(self.folder / "rows.csv")

    def run(self, *words):
        return paradapt(
            *words,
            cwd=self.folder,
            HOME=str(self.home),
            TMPDIR=str(self.temporary),
            PYTHONPATH=str(self.site),
        )

    def outside(self):
        """What the command left in the home folder and the one for temporary files.

        But for our own cache, which studies share. Lightning imports matplotlib, which keeps its
        list of the machine's fonts: not ours.
        """
        paths = {*listing(self.home), *listing(self.temporary)} - {".cache", ".config"}
        own = re.compile(r"\.cache/paradapt(/|$)")
        return {path for path in paths if "matplotlib" not in path and not own.match(path)}

    def study(self):
        storage = f"sqlite:///{self.folder / 'paradapt.db'}"
        return optuna.load_study(study_name="topics", storage=storage)

    def trials(self):
        return self.study().get_trials()

    def runs(self, kind, tmp_path):
        """MLflow's runs; of a copy, since a client keeps a database open that is deleted."""
        copy = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
        shutil.copy(self.folder / "mlflow.db", copy)
        client = MlflowClient(f"sqlite:///{copy}")
        experiment = client.get_experiment_by_name("topics")
        runs = client.search_runs(
            [experiment.experiment_id], f"tags.`paradapt.kind` = '{kind}'", max_results=1000
        )
        return client, runs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("command"))


@pytest.fixture(scope="module")
def searched(place):
    """The finished first command."""
    result = place.run("search", "study.yaml")
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture
def invoke(place, searched):
    """Return a function that gives the command within this process, which is quicker."""

    def run(command, *words):
        result = CliRunner().invoke(main, [command, str(place.study_file), *map(str, words)])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def exported(place, searched):
    """The bundle and the predictions, made by the very commands that the search printed."""
    for words in printed_commands(searched.stdout)[1:]:
        result = place.run(*words[1:])
        assert result.returncode == 0, result.stderr
    return place.folder / "topics-knee"


def read_csv(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def printed_commands(text):
    block = text.split("\nNext:\n")[1]
    return [shlex.split(line) for line in block.splitlines() if line.startswith("  ")]


class TestSearch:
    def test_prints_the_front_as_a_table(self, place, searched):
        assert "The study 'topics' is finished: all 5 trials of the budget" in searched.stdout
        assert "Pareto front, cheapest first" in searched.stdout
        front = {trial.number for trial in place.study().best_trials}
        block = searched.stdout.split("Pareto front")[1].split("\n\n")[0]
        assert {int(n) for n in re.findall(r"^ +(\d+) ", block, re.MULTILINE)} == front
        assert block.count("knee") == 1

    def test_prints_the_next_commands(self, searched):
        assert [words[1] for words in printed_commands(searched.stdout)] == [
            "ui",
            "report",
            "export",
            "predict",
        ]
        assert all(Path(words[0]).name == "paradapt" for words in printed_commands(searched.stdout))

    def test_tells_every_trial_on_standard_error(self, searched):
        for number in range(N_TRIALS):
            assert re.search(rf"^trial {number} ", searched.stderr, re.MULTILINE)
        assert "Traceback" not in searched.stderr and "Warning" not in searched.stderr

    def test_writes_nothing_outside_the_folder_of_the_study(self, place, searched):
        assert place.outside() == set()
        assert {path.name for path in place.folder.iterdir()} >= {"paradapt.db", "mlflow.db"}

    def test_uses_no_network(self, place, searched):
        assert set(place.notes.read_text().splitlines()) == {"listening"}


class TestOptuna:
    def test_reads_values_params_and_attributes(self, place, searched):
        study = place.study()
        assert study.metric_names == ["accuracy", "inference_gflops"]
        assert [way.name for way in study.directions] == ["MAXIMIZE", "MINIMIZE"]
        trials = study.get_trials()
        assert len(trials) == N_TRIALS
        for trial in trials:
            assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            spec, metrics = json.loads(trial.user_attrs["spec"]), trial.user_attrs["metrics"]
            assert spec["depth"] == trial.params.get("depth", 6)
            assert len(trial.user_attrs["history"]) in (1, N_EPOCHS)
            if trial.state == TrialState.COMPLETE:
                assert trial.values == [metrics["accuracy"], metrics["inference_gflops"]]
        assert all("query_kind" in trial.params for trial in trials[3:])

    def test_finds_the_baselines_first(self, place, searched):
        names = [trial.user_attrs.get("baseline") for trial in place.trials()]
        assert names == ["head_only", "lora_all", "bottleneck_all", None, None]

    def test_a_trained_structure_tells_the_topics(self, place, searched):
        assert max(trial.values[0] for trial in place.study().best_trials) > 0.9


class TestMlflow:
    def test_reads_the_parent_with_its_artifacts(self, place, searched, tmp_path):
        client, (parent,) = place.runs("study", tmp_path)
        assert parent.info.status == "FINISHED"
        assert parent.data.params["backbone"] == "minilm"
        names = {file.path for file in client.list_artifacts(parent.info.run_id)}
        assert {"study.yaml", "pareto.html", "pareto.csv"} <= names
        table = client.download_artifacts(parent.info.run_id, "pareto.csv", str(tmp_path))
        front = {trial.number for trial in place.study().best_trials}
        assert {int(row["trial"]) for row in read_csv(table)} == front

    def test_reads_a_child_for_every_trial(self, place, searched, tmp_path):
        _, (parent,) = place.runs("study", tmp_path)
        client, children = place.runs("trial", tmp_path)
        by_trial = {int(run.data.tags["paradapt.trial"]): run for run in children}
        assert len(children) == N_TRIALS
        for trial in place.trials():
            run = by_trial[trial.number]
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            assert run.data.metrics["accuracy"] == trial.user_attrs["metrics"]["accuracy"]
            assert json.loads(run.data.params["spec"]) == json.loads(trial.user_attrs["spec"])
            points = client.get_metric_history(run.info.run_id, "validation_loss")
            assert [p.step for p in points] == list(range(1, len(trial.user_attrs["history"]) + 1))

    def test_nothing_is_left_running(self, place, searched, tmp_path):
        for kind in ("study", "trial"):
            _, runs = place.runs(kind, tmp_path)
            assert runs and all(run.info.status != "RUNNING" for run in runs)
        assert all(trial.state.is_finished() for trial in place.trials())


class TestStatus:
    def test_shows_counts_and_the_front(self, invoke):
        text = invoke("status")
        assert text.startswith("Study 'topics' is not running: 5 of 5 trials\n")
        assert "Pareto front, cheapest first" in text

    def test_gives_scripts_the_same_as_json(self, place, invoke):
        found = json.loads(invoke("status", "--json"))
        best = {trial.number: trial.values for trial in place.study().best_trials}
        assert found["trials"]["asked"] == found["trials"]["trained"] == N_TRIALS
        assert {p["trial"]: [p["accuracy"], p["inference_gflops"]] for p in found["front"]} == best
        assert found["knee"] in best


class TestExport:
    def test_the_printed_commands_work_as_printed(self, exported):
        assert {path.name for path in exported.iterdir()} == {
            "config.yaml",
            "adapter.safetensors",
            "metrics.json",
            "proof.json",
            "requirements.txt",
            "README.md",
            "SHA256SUMS",
        }

    def test_safetensors_opens_the_weights(self, exported):
        with safe_open(exported / "adapter.safetensors", framework="pt") as file:
            # How far a prefix was let in is kept beside what was trained.
            trained = [name for name in file.keys() if not name.endswith(".gate")]  # noqa: SIM118
            n_params = sum(file.get_tensor(name).numel() for name in trained)
        assert n_params == json.loads((exported / "metrics.json").read_text())["trainable_params"]

    def test_predict_adds_its_columns_to_the_rows(self, place, exported):
        found = read_csv(place.folder / "topics-knee-predictions.csv")
        given = read_csv(place.folder / "rows.csv")
        added = ["prediction", "probability_food", "probability_space", "probability_sport"]
        assert list(found[0]) == ["id", "text", "label", *added]
        assert [{k: row[k] for k in given[0]} for row in found] == given
        for row in found:
            scores = {
                name: float(row[f"probability_{name}"]) for name in ("food", "space", "sport")
            }
            assert sum(scores.values()) == pytest.approx(1, abs=1e-4)
            assert row["prediction"] == max(scores, key=scores.get)
        assert sum(row["prediction"] == row["label"] for row in found) > 0.9 * len(found)

    @pytest.mark.parametrize(
        ("choice", "wanted"),
        [
            ("accuracy", lambda front: max(front, key=lambda t: (t.values[0], -t.values[1]))),
            ("inference_gflops", lambda front: min(front, key=lambda t: t.values[1])),
        ],
    )
    def test_selects_the_best_of_an_objective(self, place, invoke, tmp_path, choice, wanted):
        text = invoke("export", "--select", choice, "--output", tmp_path / "out")
        expected = wanted(place.study().best_trials).number
        assert text.startswith(f"Trial {expected} (")
        assert (tmp_path / "out" / "adapter.safetensors").is_file()

    def test_selects_a_trial_by_number(self, invoke, tmp_path):
        text = invoke("export", "--select", "trial:1", "--output", tmp_path / "out")
        assert text.startswith("Trial 1 (")

    def test_selects_by_a_bound(self, place, invoke, tmp_path):
        cheapest = min(place.study().best_trials, key=lambda t: t.values[1])
        bound = f"inference_gflops<={cheapest.values[1]}"
        text = invoke("export", "--select", bound, "--output", tmp_path / "out")
        assert text.startswith(f"Trial {cheapest.number} (")

    @pytest.mark.parametrize("name", ["adapter.safetensors", "config.yaml", "metrics.json"])
    def test_a_bundle_that_was_changed_is_refused(self, exported, tmp_path, name):
        bundle = shutil.copytree(exported, tmp_path / "bundle")
        content = bytearray((bundle / name).read_bytes())
        content[-1] ^= 1
        (bundle / name).write_bytes(content)
        rows = write_rows(tmp_path / "rows.csv", 3)
        words = ["predict", bundle, "--input", rows, "--output", tmp_path / "out.csv"]
        result = CliRunner().invoke(main, list(map(str, words)))
        assert result.exit_code == 2
        assert f"{bundle / name}: was changed or damaged since the export" in result.stderr
        assert not (tmp_path / "out.csv").exists()


class TestAgain:
    """These go on with the study of the tests above, in this order."""

    def test_the_same_command_finds_nothing_left_to_do(self, place, exported, tmp_path):
        before, (_, runs) = place.trials(), place.runs("trial", tmp_path)
        result = place.run("search", "study.yaml")
        assert result.returncode == 0, result.stderr
        assert "all 5 trials of the budget are trained" in result.stdout
        assert place.trials() == before
        _, now = place.runs("trial", tmp_path)
        assert [run.to_dictionary() for run in now] == [run.to_dictionary() for run in runs]

    def test_a_greater_budget_goes_on_and_makes_a_deleted_tracking_store_anew(
        self, place, exported, tmp_path
    ):
        before = place.trials()
        (place.folder / "mlflow.db").unlink()
        result = place.run("search", "study.yaml", "--trials", N_TRIALS + 2)
        assert result.returncode == 0, result.stderr
        trials = place.trials()
        assert trials[:N_TRIALS] == before
        own = [trial for trial in trials if "same_as" not in trial.user_attrs]
        assert len(own) == N_TRIALS + 2
        _, children = place.runs("trial", tmp_path)
        assert sorted(int(run.data.tags["paradapt.trial"]) for run in children) == [
            trial.number for trial in trials
        ]
        _, (parent,) = place.runs("study", tmp_path)
        assert parent.info.status == "FINISHED"

    def test_still_nothing_is_outside_the_folder_and_no_network_used(self, place, exported):
        assert place.outside() == set()
        assert set(place.notes.read_text().splitlines()) == {"listening"}


def test_help_names_every_command():
    result = paradapt("--help", cwd=Path.cwd())
    assert result.returncode == 0 and COMMAND.name == "paradapt"
    for name in ("search", "status", "ui", "export", "predict"):
        assert re.search(rf"^  {name} ", result.stdout, re.MULTILINE)
