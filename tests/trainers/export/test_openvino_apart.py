"""Some tests of the format `openvino`, in a process of their own (see test_openvino.py)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_openvino_answers_as_the_trained_models_do(tmp_path):
    chosen = ["-m", "slow", "-k", "answers_as_the_trained_model", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", "-q", f"--basetemp={tmp_path / 'tests'}", *chosen]
    file = "tests/trainers/export/test_openvino.py"
    done = subprocess.run([*command, file], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and "failed" not in done.stdout
