"""The README says what is there: its study file loads, its commands and files exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from search.cli import main
from search.objectives import METRICS
from search.study_file import StudySpec, load_study_file

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def commands():
    lines = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if "bin/paradapt " in line]
    assert len(found) >= 6
    return found


def test_the_study_file_of_the_readme_is_valid(tmp_path):
    (text,) = [block for kind, block in BLOCKS if kind == "yaml"]
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    study = load_study_file(path)
    assert study.data.train == str(tmp_path / "tickets.csv")
    assert study.objective_names == ("accuracy", "inference_gflops")


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[1:3]))
def test_every_command_of_the_readme_is_one_that_the_command_line_parses(words):
    _, name, *arguments = words
    command = main.commands[name]
    command.make_context(name, list(arguments), resilient_parsing=False)


def test_the_table_of_commands_names_all_commands():
    assert set(re.findall(r"^\| `paradapt (\w+)", README, flags=re.MULTILINE)) == set(main.commands)


def test_every_option_in_the_table_of_commands_exists():
    for line in re.findall(r"^\| `(paradapt .*?)`", README, flags=re.MULTILINE):
        name = line.split()[1]
        known = {
            o for p in main.commands[name].params if isinstance(p, click.Option) for o in p.opts
        }
        assert set(re.findall(r"--[\w-]+", line)) <= known


def keys_of(model, prefix=""):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            yield from keys_of(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_of_the_study_file_is_in_the_readme():
    table = "\n".join(re.findall(r"^\| `.*\|$", README, flags=re.MULTILINE)).replace(
        "`.epochs`, `.minutes`", "`budget.epochs`, `budget.minutes`"
    )
    told = set(re.findall(r"`([\w.]+)`", table)) | {"name", "task", "backbone"}
    assert set(keys_of(StudySpec)) <= told


def test_every_metric_is_in_the_readme():
    assert all(f"`{name}`" in README for name in METRICS)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_every_file_that_the_readme_shows_is_there(path):
    assert (ROOT / path).is_file()
