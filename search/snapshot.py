"""A study at one moment, in plain data: all that the pages, tables and MLflow runs show.

It is made of what the storage holds and of the study file, so that whoever can read the storage
can draw the pages: the search while it runs, and any command after it.
"""

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.confirmed import Confirmed, confirmed, setting_of
from search.front import knee, pareto_front, trained
from search.rungs import compared_by
from search.store import STUDY_FILE
from search.study_file import StudySpec

Status = Literal["running", "finished", "interrupted"]

FACTS = "facts"
"""Study attribute: what the last search found its data and its machine to be (search/facts.py)."""
STATUS = "status"
"""Study attribute: the Status that the last search left; `running` also where it was killed."""
CHOSEN = "chosen"
"""Study attribute: the trial that was exported last."""


@dataclass(frozen=True, kw_only=True)
class StudySnapshot:
    """A study at one moment."""

    study_name: str
    names: tuple[str, ...]
    """The names of the objectives."""
    directions: tuple[StudyDirection, ...]
    trials: tuple[FrozenTrial, ...]
    study_yaml: str
    """The study file as it was read."""
    params: Mapping[str, object] = field(default_factory=dict)
    """What the parent run shows as its parameters: task, backbone, sampler, seed, ..."""
    datasets: tuple[Mapping[str, Any], ...] = ()
    """For each side of the data `name`, `context`, `fingerprint`, `n_rows`, `source` and, where
    rows have classes, `classes`: how many rows of each."""
    status: Status
    question: str = ""
    """One sentence at the top of the parent run: what this study looks for."""
    next_commands: tuple[str, ...] = ()
    """Commands that a reader would run next."""
    n_epochs: int | None = None
    """Of a trial that is not stopped."""
    compared: tuple[str, ...] = ()
    """The metrics that trials are compared by at a rung."""
    n_train: int | None = None
    """Training rows."""
    confirmed: tuple[Confirmed, ...] = ()
    """Points that were trained again and scored on the test split."""
    tested: str = ""
    """The metric that they were tested in."""
    chosen: int | None = None
    """The trial that was exported last."""

    @cached_property
    def trained(self) -> list[FrozenTrial]:
        """The feasible trials that were trained themselves."""
        return trained(self.trials)

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """The Pareto front, cheapest first."""
        return pareto_front(self.trials, self.directions)

    @cached_property
    def knee(self) -> FrozenTrial | None:
        """The knee of the front; None without a front."""
        return knee(self.front, self.directions) if self.front else None


def take_snapshot(
    stored: optuna.Study, study: StudySpec, path: Path, status: Status
) -> StudySnapshot:
    """Return a study as it is in its storage now.

    Args:
        stored: the study in its storage.
        study: the checked study file, with the names and passwords of its URLs taken out.
        path: where it is.
        status: what the study does.
    """
    attributes = stored.user_attrs
    facts = attributes.get(FACTS, {})
    setting = setting_of(stored)
    backbone = Path(study.backbone).name  # of a folder its last part
    return StudySnapshot(
        study_name=study.name,
        names=study.objective_names,
        directions=tuple(stored.directions),
        # Finished trials are never changed, and nobody here changes one that runs.
        trials=tuple(stored.get_trials(deepcopy=False)),
        study_yaml=attributes.get(STUDY_FILE, ""),
        params=facts.get("params", {}),
        datasets=tuple(facts.get("datasets", ())),
        status=status,
        question=(
            f"Which adapter structures on {backbone} give the best trade between"
            f" {' and '.join(study.objective_names)} for this data?"
        ),
        next_commands=next_commands(study, path),
        n_epochs=study.budget.epochs,
        compared=tuple(compared_by(study)),
        n_train=facts.get("params", {}).get("n_train"),
        confirmed=tuple(confirmed(stored)),
        tested=str(setting["metric"]) if setting else "",
        chosen=attributes.get(CHOSEN),
    )


def next_commands(study: StudySpec, path: Path) -> tuple[str, ...]:
    """Return the commands that a reader would give next, ready to be pasted."""
    command = this_command()
    output = f"{study.name.replace(' ', '-')}-knee"
    sample = path.with_name(f"{study.data.source}-rows.csv")
    rows = study.data.train or (str(sample) if sample.exists() else "your-rows.csv")
    sealed = study.data.test is not None or study.data.test_share is not None
    return tuple(
        shlex.join([command, *words])
        for words in (
            ["ui", str(path)],
            *([["confirm", str(path)]] if sealed else []),
            ["report", str(path), "--output", f"{study.name.replace(' ', '-')}-report.html"],
            ["export", str(path), "--select", "knee", "--output", output],
            ["predict", output, "--input", rows, "--output", f"{output}-predictions.csv"],
        )
    )


def this_command() -> str:
    """Return how the user called us: the bare name where the shell finds it, else the path."""
    called = Path(sys.argv[0])
    if called.name != "paradapt" or shutil.which("paradapt") == str(called.absolute()):
        return "paradapt"
    return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)
