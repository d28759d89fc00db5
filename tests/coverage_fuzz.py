"""Fuzzing that is led by which lines an input reaches: it finds what no list of mutations has.

    python -m tests.coverage_fuzz TARGET SEEDS -atheris_runs=10000

SEEDS is a folder of whole files to begin from. Whatever is not a UserError ends the run with a
traceback, and so does an input that takes longer than the flag -timeout allows.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["search", "space", "trainers"]):
    from optuna.study import StudyDirection

    from search.selection import select
    from search.study_file import load_study_file
    from space.errors import UserError
    from tests.search.finished_study import DIRECTIONS, finished_trials
    from trainers.bundle_config import config_of
    from trainers.columns import Columns
    from trainers.data import load_data
    from trainers.plain_yaml import read_yaml
    from trainers.tasks import task_of

TRIALS = finished_trials()
WAYS = [StudyDirection[way.upper()] for way in DIRECTIONS]
FOLDER = Path(tempfile.mkdtemp(prefix="paradapt-fuzz-"))


def study(content: bytes) -> None:
    """A study file."""
    path = FOLDER / "study.yaml"
    path.write_bytes(content)
    load_study_file(path, ())


def choice(content: bytes) -> None:
    """An expression of `--select`."""
    words = content.decode("utf-8", "surrogateescape")
    assert select(TRIALS, WAYS, ("accuracy", "inference_gflops"), words) in TRIALS


def table(content: bytes) -> None:
    """Rows of a CSV file."""
    path = FOLDER / "rows.csv"
    path.write_bytes(content)
    load_data(
        task_of("text-classification", label_separator=None, text_pair=None),
        source=None,
        train=path,
        validation=None,
        columns=Columns(),
        rows=None,
        validation_share=0.3,
        seed=0,
        image=None,
    )


def bundle(content: bytes) -> None:
    """The config.yaml of a bundle."""
    path = FOLDER / "config.yaml"
    path.write_bytes(content)
    config_of(read_yaml(path), path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "study": study,
    "choice": choice,
    "table": table,
    "bundle": bundle,
}


def one(content: bytes) -> None:
    """Check one input."""
    try:
        TARGETS[sys.argv[1]](content)
    except UserError as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()
