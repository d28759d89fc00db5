"""What may import what, and how quickly the command answers."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("space", "trainers", "search")
FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 400


def imported(path):
    """Top-level names of everything that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module.partition(".")[0])
    return names


def files_of(package):
    found = [path for path in FILES if path.is_relative_to(ROOT / package)]
    assert found
    return found


def loaded_by(statement):
    """Top-level names of all modules that a fresh interpreter has after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def named(path):
    return str(path.relative_to(ROOT))


class TestArrows:
    @pytest.mark.parametrize("path", files_of("space"), ids=named)
    def test_space_needs_python_and_itself_alone(self, path):
        assert imported(path) <= {*sys.stdlib_module_names, "space"}

    @pytest.mark.parametrize("path", files_of("trainers"), ids=named)
    def test_trainers_know_nothing_of_the_search(self, path):
        assert not imported(path) & {"search", "optuna", "mlflow", "plotly", "ray", "click"}

    @pytest.mark.parametrize("path", files_of("search"), ids=named)
    def test_the_search_leaves_models_to_the_trainers(self, path):
        assert not imported(path) & {"lightning", "transformers", "safetensors", "pandas"}

    @pytest.mark.parametrize("path", FILES, ids=named)
    def test_no_package_imports_the_tests(self, path):
        assert "tests" not in imported(path)


class TestLoaded:
    def test_space_loads_no_heavy_library(self):
        statement = "import pkgutil, space\nfor m in pkgutil.iter_modules(space.__path__): "
        statement += "__import__('space.' + m.name)"
        names = loaded_by(statement)
        assert "space" in names
        heavy = {"torch", "optuna", "mlflow", "lightning", "transformers", "numpy", "pandas"}
        assert not names & (heavy | {"search", "trainers"})

    def test_a_bundle_is_used_without_the_libraries_of_the_search(self):
        names = loaded_by("import trainers.bundle, trainers.predict")
        assert "torch" in names
        assert not names & {"search", "optuna", "mlflow", "plotly"}

    def test_a_study_file_is_checked_without_a_heavy_library(self):
        names = loaded_by("import search.study_file")
        assert not names & {"torch", "mlflow", "lightning", "transformers", "plotly", "pandas"}

    def test_the_command_line_loads_none_of_them_before_it_knows_the_command(self):
        names = loaded_by("import search.cli")
        assert "click" in names
        assert not names & {"torch", "optuna", "mlflow", "lightning", "pydantic", "pandas"}


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=named)
def test_no_file_is_too_long_to_read(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{named(path)} has {n_lines} lines: one concept a file"


def test_the_command_answers_at_once():
    command = [Path(sys.executable).with_name("paradapt"), "--help"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "search" in done.stdout
    assert time.perf_counter() - began < 2
