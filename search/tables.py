"""The tables that a terminal shows, in the reader's units."""

from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.ending import n_trained
from search.front import knee, pareto_front, structure
from search.lineage import RESUMES, resumed_as
from search.objectives import formatted
from search.pages.style import better

_LAST_RULE = 40


def table(header: Sequence[str], rows: Sequence[Sequence[str]], n_left: int = 1) -> str:
    """Return rows under a header, columns aligned; the last `n_left` columns to the left."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    n_right = len(header) - n_left
    lines = []
    # The last column is not cut, and may be far wider than a terminal.
    rules = ["-" * width for width in (*widths[:-1], min(widths[-1], _LAST_RULE))]
    for row in (header, rules, *rows):
        cells = [
            cell.rjust(width) if i < n_right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def front_table(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], names: Sequence[str]
) -> str:
    """Return the Pareto front and, below it, the baselines that are not on it."""
    front = pareto_front(trials, directions)
    if not front:
        return "No trial is complete yet."
    chosen = knee(front, directions).number
    others = [
        trial
        for trial in trials
        if "baseline" in trial.user_attrs
        and trial.values
        and trial.number not in {point.number for point in front}
    ]
    header = ["trial", *names, "", "structure"]
    rows = [_row(trial, names, "knee" if trial.number == chosen else "") for trial in front]
    units = "; ".join(f"{name}: {better(name, names, directions)}" for name in names)
    text = f"Pareto front, cheapest first\n{table(header, rows, n_left=2)}\n({units})"
    if others:
        rows = [_row(trial, names, "") for trial in others]
        text += "\n\nBaselines that are not on the front\n" + table(header, rows, n_left=2)
    return text


def _row(trial: FrozenTrial, names: Sequence[str], mark: str) -> list[str]:
    marks = [mark, trial.user_attrs.get("baseline", "")]
    values = [formatted(n, v) for n, v in zip(names, trial.values, strict=True)]
    return [str(trial.number), *values, " ".join(m for m in marks if m), structure(trial)]


def counts(stored: optuna.Study) -> dict[str, int]:
    """Return how many trials ended how, and how many are running.

    Trials that are equal to another, and stopped ones that were taken up again, are told apart.
    """
    ends = ("complete", "pruned", "failed", "infeasible", "interrupted")
    trials = stored.get_trials(deepcopy=False)
    taken_up = resumed_as(trials)
    equal = [trial for trial in trials if "same_as" in trial.user_attrs]
    apart = {*taken_up, *(trial.number for trial in equal)}
    own = [trial for trial in trials if trial.number not in apart]
    found = {
        end: sum(t.state.is_finished() and t.user_attrs.get("end") == end for t in own)
        for end in ends
    }
    return {
        "trained": n_trained(trials),
        **found,
        "equal": len(equal),
        "resumed": len(taken_up),
        "running": sum(trial.state == optuna.trial.TrialState.RUNNING for trial in trials),
    }


def counts_in_words(numbers: dict[str, int]) -> str:
    """Return the counts that are not zero: `12 complete, 3 pruned`."""
    return ", ".join(f"{n} {name}" for name, n in numbers.items() if n and name != "trained")


def ended_in_words(number: int, trial: FrozenTrial, names: Sequence[str]) -> str:
    """Return one line on how a trial ended."""
    attributes = trial.user_attrs
    metrics = attributes.get("metrics", {})
    values = ", ".join(
        f"{name} {formatted(name, metrics[name])}" for name in names if name in metrics
    )
    baseline = f" (baseline {attributes['baseline']})" if "baseline" in attributes else ""
    equal = f" (equal to trial {attributes['same_as']})" if "same_as" in attributes else ""
    resumed = f" (goes on with trial {attributes[RESUMES]})" if RESUMES in attributes else ""
    reason = f": {attributes['reason']}" if attributes.get("reason") else ""
    end = attributes.get("end", "")
    return f"trial {number}{baseline}{resumed} {end}{equal}: {values}; {structure(trial)}{reason}"
