"""An offline kit in a fresh virtual environment with its own requirements alone, and no network."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.tiny_study import paradapt, tiny_backbone, write_rows, write_study

pytestmark = pytest.mark.slow

INSTALL_S = 1200
FORBIDDEN = ("lightning", "mlflow", "optuna", "torchmetrics", "sklearn", "captum", "matplotlib")
_ALONE = (shutil.which("unshare"), "--net", "--map-root-user")


def run(*words, cwd, timeout=120, **variables):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "HF_", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [*map(str, words)],
        cwd=cwd,
        env=environment | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_network():
    """The words before a command that take the network away; none where it is not permitted."""
    if _ALONE[0] is None:
        return ()
    permitted = subprocess.run([*_ALONE, "true"], capture_output=True).returncode == 0
    return _ALONE if permitted else ()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an offline kit `kit`, rows, and the answers of this environment."""
    folder = tmp_path_factory.mktemp("kit")
    write_rows(folder / "rows.csv", 60)
    backbone = tiny_backbone(folder / "tiny")
    write_study(folder, backbone=str(backbone), budget={"trials": 3, "epochs": 2})
    for words in (
        ("search", "study.yaml"),
        ("export", "study.yaml", "--select", "accuracy", "--offline", "--output", "kit"),
        ("predict", "kit", "--input", "rows.csv", "--output", "here.csv"),
    ):
        done = paradapt(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(backbone)
    return folder


@pytest.fixture(scope="module")
def python(place):
    """Python of a fresh environment with what the kit's requirements.txt names."""
    run(sys.executable, "-m", "venv", place / "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    words = ("-m", "pip", "install", "--quiet", "-r", place / "kit" / "requirements.txt")
    run(python, *words, cwd=place, timeout=INSTALL_S)
    return python


def read(path: Path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_requirements_bring_nothing_of_the_search(place, python):
    code = f"import importlib.util as u; print([n for n in {FORBIDDEN!r} if u.find_spec(n)])"
    assert run(python, "-c", code, cwd=place).strip() == "[]"


def test_the_command_of_the_card_answers_as_here_without_network(place, python, tmp_path):
    home = {"HOME": str(tmp_path), "PYTHONPATH": "code"}
    words = ("-m", "trainers", ".", "--input", "../rows.csv", "--output", "../there.csv")
    run(*without_network(), python, *words, cwd=place / "kit", **home)
    here, there = read(place / "here.csv"), read(place / "there.csv")
    assert len(there) == 60 and there[0].keys() == here[0].keys()
    for own, right in zip(there, here, strict=True):
        for name, value in right.items():
            if name.startswith("probability_"):
                assert float(own[name]) == pytest.approx(float(value), abs=1e-6)
            else:
                assert own[name] == value
    assert "PYTHONPATH=code python -m trainers ." in (place / "kit" / "README.md").read_text()


def test_the_network_is_really_away(python, place):
    words = without_network()
    if not words:
        pytest.skip("this machine permits no network namespace")
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    done = subprocess.run([*words, python, "-c", code], capture_output=True, text=True, cwd=place)
    assert done.returncode != 0 and "unreachable" in done.stderr
