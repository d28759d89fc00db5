"""What a study has so far, for people and for scripts."""

from typing import Any

import optuna
from optuna.trial import TrialState

from search.front import FrontPoint, knee, pareto_front
from search.study_file import StudySpec
from search.tables import counts, counts_in_words, front_table


def status_in_words(stored: optuna.Study, study: StudySpec) -> str:
    """Return counts, running trials and the front, as text."""
    numbers = counts(stored)
    lines = [
        f"Study {study.name!r}: {numbers['trained']} of {study.budget.trials} trials",
        counts_in_words(numbers),
        *_running(stored),
        "",
        front_table(stored.get_trials(deepcopy=False), stored.directions, study.objective_names),
    ]
    return "\n".join(lines)


def _running(stored: optuna.Study) -> list[str]:
    lines = []
    for trial in stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        since = trial.datetime_start.strftime("%H:%M:%S") if trial.datetime_start else "?"
        lines.append(f"trial {trial.number} runs since {since}")
    return lines


def status_as_json(stored: optuna.Study, study: StudySpec) -> dict[str, Any]:
    """Return the same as plain data."""
    front = pareto_front(stored.get_trials(deepcopy=False), stored.directions)
    points = [FrontPoint.of(trial) for trial in front]
    return {
        "study": study.name,
        "trials": {"asked": study.budget.trials, **counts(stored)},
        "objectives": list(study.objective_names),
        "front": [
            {
                "trial": point.number,
                **dict(zip(study.objective_names, point.values, strict=True)),
                "baseline": point.baseline,
                "structure": point.structure,
            }
            for point in points
        ],
        "knee": knee(front, stored.directions).number if front else None,
    }
