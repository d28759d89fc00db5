"""What a user can get wrong: one message, exit status 2, no traceback, and nothing written."""

import socket
from contextlib import closing

import optuna
import pytest
from click.testing import CliRunner
from transformers import AlbertConfig, BartConfig

from search.cli import main
from tests.end_to_end.tiny_study import (
    listing,
    messages,
    paradapt,
    write_rows,
    write_study,
)
from tests.trainers.tiny import save_model


class TestStudyFile:
    def test_missing(self, folder, refused):
        (folder / "study.yaml").unlink()
        (message,) = refused()
        assert message == f"{folder}/study.yaml: there is no such study file."

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("name: [topics\ntask: x", "not YAML: line 2, column 5: "),
            ("- name\n- task\n", "a study file is a mapping (`name: ...`), but it holds ['name',"),
            ("", "but it holds nothing"),
        ],
    )
    def test_not_yaml_or_no_mapping(self, folder, refused, text, why):
        (folder / "study.yaml").write_text(text)
        (message,) = refused()
        assert message.startswith(f"{folder}/study.yaml: ") and why in message

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"budgte": {"trials": 3}}, "budgte: unknown key. Did you mean `budget`?"),
            ({"space": {"ranks": [2]}}, "space.ranks: unknown key. Did you mean `rank`?"),
            (
                {"budget": {"trials": "many"}},
                "budget.trials: must be a whole number, but got 'many'",
            ),
            ({"space": {"rank": []}}, "space.rank: must not be empty, but got []."),
            ({"space": {"rank": [0]}}, "space.rank[0]: must be at least 1, but got 0."),
            (
                {"space": {"depth": [2, 3]}},
                "space.depth: 3 is not possible; the backbone has 2 blocks",
            ),
            (
                {"space": {"roles": ["quary"]}},
                "space.roles: 'quary' is unknown; the names are query,",
            ),
            ({"tracking": "foo://x"}, "tracking: must be a database (sqlite:///mlflow.db) or a"),
            (
                {"data": {"source": "docstring"}},
                "data.source: no built-in source `docstring`. Did you",
            ),
        ],
    )
    def test_a_wrong_key_or_value(self, refused, changes, why):
        (message,) = refused(**changes)
        assert why in message

    def test_all_problems_at_once_by_the_real_command(self, folder, backbone):
        write_study(folder, backbone=str(backbone), sampler="tep", seed=-1, space={"rank": [0]})
        before = listing(folder)
        result = paradapt("search", "study.yaml", "--set", "budget.trails=3", cwd=folder)
        assert (result.returncode, result.stdout) == (2, "")
        assert [line.split(": ")[1] for line in messages(result.stderr)] == [
            "space.rank[0]",
            "budget.trails",
            "sampler",
            "seed",
        ]
        assert result.stderr.count("\n") == 4
        assert listing(folder) == before

    def test_an_override_that_is_wrong(self, refused):
        assert refused("search", "--set", "budget=3")[0].endswith(
            "budget: must be a mapping, but got 3."
        )

    def test_a_worker_too_many(self, refused):
        (message,) = refused("search", "--workers", 1000)
        assert message.startswith("workers: 1000 of 1 core each need 1000 cores, but this machine")


class TestData:
    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (None, "no file `{path}`."),
            (b"", "`{path}` is empty. It needs named columns and rows."),
            (b"text,label\n", "`{path}` has no data rows, only the columns `text`, `label`."),
            (
                b"text,lable\na,b\n",
                "has no column `label`; it has the columns `text`, `lable`. Did",
            ),
            (b"text,label\na,x\nb,x\n", "all 2 rows have the label `x`; a classifier needs two"),
            ("text,label\nKäse,x\nb,y\n".encode("latin-1"), "UTF-8"),
            (b"text,label\n,x\n ,y\n", "none of its 2 rows has a text and a label"),
            (b"text,label\na,x\nb,y\n", "data.train"),
        ],
    )
    def test_a_file_that_cannot_be_trained_on(self, folder, refused, content, why):
        path = folder / "own.csv"
        if content is not None:
            path.write_bytes(content)
        (message,) = refused(data={"train": "own.csv"})
        assert message.startswith("data.train: ") and why.format(path=path) in message

    def test_the_column_that_the_study_file_names(self, refused):
        (message,) = refused(data={"train": "rows.csv", "text": "txt"})
        assert "has no column `txt`; it has the columns `id`, `text`, `label`." in message

    def test_a_near_name_of_a_missing_file_is_told(self, refused):
        (message,) = refused(data={"train": "row.csv"})
        assert message.endswith("Did you mean `rows.csv`?")

    def test_a_format_that_is_not_read(self, folder, refused):
        (folder / "rows.xlsx").write_bytes(b"PK")
        (message,) = refused(data={"train": "rows.xlsx"})
        assert "its name must end in .csv, .tsv, .jsonl, .parquet" in message

    def test_fewer_rows_than_labels(self, refused):
        (message,) = refused(data={"train": "rows.csv", "rows": 2})
        assert "data.rows: 2 rows cannot hold one of each of the 3 labels" in message


class TestBackbone:
    def test_not_there_and_offline_by_the_real_command(self, folder):
        write_study(folder, backbone="nobody/no-such-model")
        before = listing(folder)
        result = paradapt("search", "study.yaml", cwd=folder)
        assert (result.returncode, result.stdout) == (2, "")
        (message,) = messages(result.stderr)
        assert message.startswith(
            "backbone: 'nobody/no-such-model' is neither a bundled name (minilm)"
        )
        assert listing(folder) == before

    def test_a_folder_that_is_not_there(self, folder, refused):
        (message,) = refused(backbone="./nowhere")
        assert message == f"backbone: there is no folder {folder / 'nowhere'}."

    def test_a_folder_without_a_model(self, folder, refused):
        (folder / "empty").mkdir()
        (message,) = refused(backbone="empty")
        assert "has no config.json" in message

    def test_a_folder_without_safetensors(self, folder, refused):
        (folder / "old").mkdir()
        (folder / "old" / "config.json").write_text('{"model_type": "bert"}')
        (folder / "old" / "pytorch_model.bin").write_bytes(b"")
        (message,) = refused(backbone="old")
        assert (
            "has no *.safetensors weights. It has pytorch_model.bin, which can run code" in message
        )

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            (
                BartConfig(vocab_size=64, d_model=32, encoder_layers=1, decoder_layers=1),
                "it has 2 lists of blocks where one is needed",
            ),
            (
                AlbertConfig(vocab_size=64, hidden_size=64, num_hidden_layers=2),
                "it runs 2 blocks but has 1",
            ),
        ],
        ids=["bart", "albert"],
    )
    def test_a_family_that_cannot_be_matched(self, folder, refused, config, why):
        save_model(config, folder / "other")
        (message,) = refused(backbone="other")
        assert f"is of the family {config.model_type!r}, which is not in the table" in message
        assert why in message


class TestStorage:
    @pytest.mark.parametrize(
        ("storage", "why"),
        [
            ("sqlite:///nowhere/paradapt.db", "unable to open database file"),
            ("foo+bar://me:secret@host/db", "foo"),
            ("paradapt.db", "Could not parse SQLAlchemy URL"),
            ("", "Could not parse SQLAlchemy URL"),
            ("sqlite:///rows.csv", "file is not a database"),
        ],
    )
    def test_cannot_be_opened(self, refused, storage, why):
        (message,) = refused(storage=storage)
        assert message.startswith("storage: ") and why in message
        assert "cannot be opened" in message and "sqlite:///paradapt.db" in message
        assert "secret" not in message

    def test_the_folder_of_the_tracking_store_is_missing(self, refused, folder):
        (message,) = refused(tracking="sqlite:///nowhere/mlflow.db")
        assert message == (
            f"tracking: sqlite:///{folder}/nowhere/mlflow.db cannot be opened (there is no folder"
            f" {folder}/nowhere). Make the folder, or write for example sqlite:///mlflow.db."
        )

    @pytest.mark.parametrize("command", ["status", "export"])
    def test_no_study_yet(self, refused, folder, command):
        words = ["--select", "knee", "--output", folder / "out"] if command == "export" else []
        (message,) = refused(command, *words)
        assert f"{folder}/paradapt.db holds no study 'topics' yet; run `paradapt search`" in message


@pytest.fixture(scope="module")
def finished(tmp_path_factory, backbone):
    """A finished study whose tracking server is down, and what its command said."""
    place = tmp_path_factory.mktemp("finished")
    write_rows(place / "rows.csv", 30)
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    settings = {
        "backbone": str(backbone),
        "tracking": f"http://127.0.0.1:{port}",
        "budget": {"trials": 4, "epochs": 1},
        "artifacts": "weights",
    }
    write_study(place, **settings)
    return place, settings, paradapt("search", "study.yaml", cwd=place)


@pytest.fixture(scope="module")
def bundle(finished, tmp_path_factory):
    place, _, _ = finished
    target = tmp_path_factory.mktemp("bundle") / "knee"
    words = ["export", place / "study.yaml", "--select", "knee", "--output", target]
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return target


class TestFinishedStudy:
    """What is refused on a study that there is, and that its tracking server never barred."""

    @pytest.fixture
    def refused_here(self, refused, finished):
        place, settings, _ = finished

        def run(command="search", *words, **changes):
            write_study(place, **(settings | changes))
            try:
                return refused(command, *words, place=place)
            finally:
                write_study(place, **settings)

        return run

    def test_a_tracking_server_that_is_down_is_a_warning_only(self, finished):
        place, settings, result = finished
        assert result.returncode == 0, result.stderr
        assert settings["tracking"] in result.stderr
        assert "MLflow's pages are not complete; the same search command makes up" in result.stdout
        study = optuna.load_study(study_name="topics", storage=f"sqlite:///{place}/paradapt.db")
        assert len([t for t in study.get_trials() if "same_as" not in t.user_attrs]) == 4

    @pytest.mark.parametrize(
        ("changes", "whys"),
        [
            ({"space": {"depth": [1, 2], "rank": [2, 8]}}, ["space.rank: ", "[2, 4]", "[2, 8]"]),
            (
                {"objectives": [{"maximize": "macro_f1"}, {"minimize": "inference_gflops"}]},
                ["objectives: ", "'accuracy'", "'macro_f1'"],
            ),
            ({"seed": 5}, ["seed: ", " 0, ", " 5."]),
            ({"budget": {"trials": 4, "epochs": 3}}, ["budget.epochs: ", " 1, ", " 3."]),
            ({"data": {"train": "rows.csv", "max_length": 16}}, ["data.max_length: "]),
        ],
    )
    def test_going_on_with_a_change_is_refused(self, refused_here, changes, whys):
        *differences, way_out = refused_here(**changes)
        assert all(why in " ".join(differences) for why in whys)
        assert all("the study 'topics' was begun with" in line for line in differences)
        assert "begin a new study: change `name` (or `storage`)" in way_out

    @pytest.mark.parametrize(
        ("choice", "why"),
        [
            (
                "kne",
                "but got `kne`; the objectives are accuracy, inference_gflops. Did you mean `knee`",
            ),
            ("trial:99", "The study has no trial 99: its trials are 0 to"),
            ("trial:x", "`trial:N` takes the number of a trial, but got `trial:x`"),
            ("inference_gflop<=1", "No trial has a metric `inference_gflop`"),
            (
                "inference_gflops<=0",
                "No complete trial holds `inference_gflops<=0`; the nearest is",
            ),
            ("inference_gflops<=cheap", "A bound is a metric, `<=` or `>=`, and a number"),
        ],
    )
    def test_an_unknown_selection(self, refused_here, tmp_path, choice, why):
        (message,) = refused_here("export", "--select", choice, "--output", tmp_path / "out")
        assert why in message
        assert not (tmp_path / "out").exists()

    def test_an_output_folder_in_use(self, refused_here, finished):
        place, _, _ = finished
        (message,) = refused_here("export", "--select", "knee", "--output", place / "weights")
        assert message.endswith("weights: exists already; nothing is overwritten. Name another.")

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (None, "--input: no file"),
            ("", "is empty"),
            ("id,sentence\n1,the goal\n", "has no column 'text'; it has id, sentence."),
            ("text,prediction\nthe goal,x\n", "has a column 'prediction' already; rename it"),
        ],
    )
    def test_an_input_of_predict(self, refused, folder, bundle, content, why):
        source = folder / "new.csv"
        if content is not None:
            source.write_text(content)
        (message,) = refused("predict", bundle, "--input", source, "--output", folder / "out.csv")
        assert why in message

    def test_an_output_of_predict(self, refused, folder, bundle):
        words = ["predict", bundle, "--input", folder / "rows.csv", "--output"]
        (message,) = refused(*words, folder / "study.yaml")
        assert "exists already; nothing is overwritten" in message
        (message,) = refused(*words, folder / "nowhere" / "out.csv")
        assert f"there is no folder {folder / 'nowhere'}" in message

    @pytest.mark.parametrize(
        ("name", "why"), [("none", "there is no such bundle"), (".", "it has no SHA256SUMS")]
    )
    def test_a_bundle_that_is_none(self, refused, folder, name, why):
        words = ["--input", folder / "rows.csv", "--output", folder / "out.csv"]
        (message,) = refused("predict", folder / name, *words)
        assert message.startswith(str(folder)) and why in message
