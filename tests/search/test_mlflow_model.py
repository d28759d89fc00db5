"""MLflow models: loaded by MLflow alone, where none of our packages is installed."""

import base64
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from mlflow.models import Model

from tests.search.served_cases import CASES, ROOT, alike, asked, right, run_alone, written
from trainers.requirements import NEEDED


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """For each case the folder of its model, and what was trained."""
    root = tmp_path_factory.mktemp("models")
    made = {}
    for number, case in enumerate(CASES):
        place = root / str(number)
        place.mkdir()
        made[case] = (place / "model", written(case, place))
    return made


@pytest.fixture(scope="module")
def answered(models, tmp_path_factory):
    """What one Python without our packages answers with all models, and where it found the code."""
    here = tmp_path_factory.mktemp("here")
    for case, (folder, _) in models.items():
        asked(case).to_pickle(here / f"{folder.parent.name}.rows")
    code = f"""
import json
import mlflow.pyfunc, pandas
found = {{}}
for folder in {[str(folder) for folder, _ in models.values()]!r}:
    model = mlflow.pyfunc.load_model(folder)
    rows = pandas.read_pickle(folder.split("/")[-2] + ".rows")
    example = model.predict(model.input_example)
    found[folder] = [model.predict(rows).to_dict("records"), list(example.columns)]
import trainers
print(json.dumps([found, trainers.__file__]))
"""
    printed = run_alone(code, here)
    assert {path.suffix for path in here.iterdir()} == {".rows"}  # no store was made
    return json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_mlflow_alone_answers_as_the_trained_model_does(models, answered, case):
    folder, bundle = models[case]
    found, columns = answered[0][str(folder)]
    wanted = right(bundle, case)
    assert alike(found, wanted)
    assert columns == list(wanted[0])


def test_the_code_is_the_models_own(models, answered):
    first, _ = next(iter(models.values()))
    assert Path(answered[1]).is_relative_to(first / "code")


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_pickled_and_no_place_of_this_machine_is_told(models, case):
    folder, _ = models[case]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {"", ".json", ".md", ".py", ".safetensors"} | {
        ".txt",
        ".yaml",
    }
    flavor = Model.load(folder).flavors["python_function"]
    assert "python_model" not in flavor
    assert flavor["model_code_path"] == "served_model.py"
    told = (folder / "MLmodel").read_text()
    assert str(ROOT) not in told and "/tmp" not in told and str(folder.parent) not in told


def test_the_signature_names_the_columns_of_the_study(models):
    kinds = {}
    for case, (folder, _) in models.items():
        signature = Model.load(folder).signature
        kinds[case] = [
            {item["name"]: item["type"] for item in side.to_dict()}
            for side in (signature.inputs, signature.outputs)
        ]
    assert kinds["pair of parallel adapters"][0] == {"text": "string", "second": "string"}
    assert kinds["class of experts, with exits"] == [
        {"text": "string"},
        {
            "prediction": "string",
            "probability_fruit": "double",
            "probability_tool": "double",
            "exit_depth": "long",
        },
    ]
    assert kinds["number of bottlenecks, at full depth"][1] == {"prediction": "double"}
    assert kinds["tags of lora"] == [{"words": "array"}, {"prediction": "array"}]
    assert kinds["image of lora"][0] == {"image": "binary"}
    assert kinds["language of lora"][1] == {
        "n_tokens": "long",
        "log_likelihood": "double",
        "perplexity": "double",
    }


def test_the_requirements_are_what_answering_needs_pinned(models):
    folder, _ = next(iter(models.values()))
    pins = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    assert pins.keys() == {*NEEDED, "mlflow"}
    assert pins["mlflow"] == version("mlflow")
    assert pins["torch"] == version("torch").split("+")[0]


def test_the_example_can_be_posted_as_it_is(models):
    for folder, _ in models.values():
        posted = json.loads((folder / "serving_input_example.json").read_text())
        split = posted["dataframe_split"]
        assert len(split["data"]) == 1
        if "image" in split["columns"]:
            assert base64.b64decode(split["data"][0][0]).startswith(b"\x89PNG")


def test_a_users_project_file_is_not_taken_along(tmp_path, monkeypatch, models):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    (tmp_path / "uv.lock").write_text("version = 1\n")
    monkeypatch.chdir(tmp_path)
    written("tags of lora", tmp_path)
    assert not (tmp_path / "model" / "uv.lock").exists()
    assert not (tmp_path / "model" / "pyproject.toml").exists()
