"""What a study has so far, for people and for scripts."""

import fcntl
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from search.ending import n_trained
from search.front import FrontPoint, knee, pareto_front
from search.pages.clock import Clock
from search.progress import in_words
from search.study_file import StudySpec
from search.tables import counts, counts_in_words, front_table
from search.volume import volume_so_far


def status_in_words(stored: optuna.Study, study: StudySpec) -> str:
    """Return counts, running trials, hypervolume, time left and the front, as text."""
    trials = stored.get_trials(deepcopy=False)
    numbers = counts(stored)
    running = is_running(study)
    state = "is running" if running else "is not running"
    lines = [
        f"Study {study.name!r} {state}: {numbers['trained']} of {study.budget.trials} trials",
        counts_in_words(numbers),
        *_running(stored),
    ]
    facts = []
    if numbers["complete"]:
        facts.append(f"hypervolume {volume_so_far(trials, stored.directions):.3f}")
    left = seconds_left(stored, study)
    if running and left:
        facts.append(f"about {in_words(left)} left")
    lines += [", ".join(facts)] if facts else []
    lines += ["", front_table(trials, stored.directions, study.objective_names)]
    return "\n".join(lines)


def status_as_json(stored: optuna.Study, study: StudySpec) -> dict[str, Any]:
    """Return the same as plain data."""
    trials = stored.get_trials(deepcopy=False)
    front = pareto_front(trials, stored.directions)
    points = [FrontPoint.of(trial) for trial in front]
    return {
        "study": study.name,
        "running": is_running(study),
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
        "hypervolume": volume_so_far(trials, stored.directions),
        "seconds_left": seconds_left(stored, study),
    }


def state_in_words(stored: optuna.Study) -> str:
    """Return the counts, the front and its hypervolume in a few words, for a progress bar."""
    numbers = counts(stored)
    trials = stored.get_trials(deepcopy=False)
    front = pareto_front(trials, stored.directions)
    text = f"{numbers['pruned']} pruned, {numbers['failed']} failed, front of {len(front)}"
    if len(front) < 2:  # there is no box yet
        return text
    return f"{text}, hypervolume {volume_so_far(trials, stored.directions):.3f}"


def seconds_left(stored: optuna.Study, study: StudySpec) -> float | None:
    """Return a guess at what the rest of the budget takes, at the pace so far; None without one."""
    begun = [trial for trial in stored.get_trials(deepcopy=False) if trial.datetime_start]
    done = n_trained(begun)
    if not done:
        return None
    return max(study.budget.trials - done, 0) * 60 * Clock(begun).total / done


def is_running(study: StudySpec) -> bool:
    """Whether a command on this machine runs trials of the study: it holds the study's lock."""
    path = Path(study.artifacts) / study.name / "driver.lock"
    try:
        with path.open("rb") as file:
            # Several drivers may share it; who looks must not get in.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # There is none yet.
        return False
    return False


def _running(stored: optuna.Study) -> list[str]:
    lines = []
    for trial in stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        since = trial.datetime_start.strftime("%H:%M:%S") if trial.datetime_start else "?"
        lines.append(f"trial {trial.number} runs since {since}")
    return lines
