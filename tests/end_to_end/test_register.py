"""A study's point, exported and registered by the real command, and asked for by its alias."""

import json
import subprocess
import sys

import pandas
import pytest

from search.mlflow_client import new_client
from search.registry import CHAMPION, REGISTERED_TAG
from tests.end_to_end.tiny_study import paradapt, tiny_backbone, write_rows, write_study
from tests.search.served_cases import environment

_ASK = """
import json, sys
import mlflow.pyfunc, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/topics@champion")
print(model.predict(pandas.DataFrame({"text": json.loads(sys.argv[2])}))["prediction"].to_json())
"""


@pytest.mark.slow
def test_the_champion_answers_as_the_export_does(tmp_path):
    tiny_backbone(tmp_path / "backbone")
    rows = write_rows(tmp_path / "rows.csv", 60)
    write_study(tmp_path, backbone="backbone", budget={"trials": 2, "epochs": 1})
    assert paradapt("search", "study.yaml", cwd=tmp_path).returncode == 0
    words = ("export", "study.yaml", "--select", "accuracy", "--format", "mlflow", "--offline")
    done = paradapt(*words, "--register", "topics", "--output", "best", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "version 1 of 'topics' and its champion: models:/topics@champion" in done.stderr
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = new_client(tracking)
    version = client.get_model_version_by_alias("topics", CHAMPION)
    run = client.get_run(version.run_id)
    assert run.data.tags[REGISTERED_TAG] == "models:/topics/1"
    assert f"Trial {run.data.tags['paradapt.trial']} " in done.stdout
    bundle = tmp_path / "best" / "artifacts" / "bundle"
    table = ("--input", rows, "--output", "answers.csv")
    assert paradapt("predict", bundle, *table, cwd=tmp_path).returncode == 0
    answers = pandas.read_csv(tmp_path / "answers.csv").head(4)
    asked = subprocess.run(
        [sys.executable, "-c", _ASK, tracking, json.dumps(list(answers["text"]))],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout.splitlines()[-1])
    assert list(found.values()) == list(answers["prediction"])
