"""Confirmed results for people and scripts: text, Markdown, CSV, JSON."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import optuna

from search.confirmed import (
    Comparison,
    Confirmed,
    WinnersCurse,
    comparisons,
    confirmed,
    in_points,
    setting_of,
    winners_curse,
)
from search.objectives import SHARES, formatted
from search.tables import table

COSTS = {
    "inference_gflops": "GFLOPs",
    "latency_ms": "latency ms",
    "train_s": "training s",
}
"""What confirmed points are listed with beside their score, and its head."""
MORE_COSTS = {"trainable_params": "trained", "peak_memory_mib": "memory MiB"}
"""Listed where there is room."""
UNKNOWN = "-"
ONLY_BASELINES = (
    "All chosen points are baselines themselves: the search found nothing to put before them."
)
NOTHING = "Nothing is confirmed yet."


def in_words(stored: optuna.Study) -> str:
    """Return the results as text for a terminal."""
    points, setting = confirmed(stored), setting_of(stored)
    if not points or setting is None:
        return NOTHING
    metric = setting["metric"]
    rows = [[*_numbers(point, metric, COSTS), _named(point)] for point in points]
    shown = table([*_header(metric, COSTS), "point"], rows)
    return "\n\n".join([_title(setting), shown, *_sections(stored)])


def markdown(stored: optuna.Study) -> str:
    """Return the results as Markdown."""
    points, setting = confirmed(stored), setting_of(stored)
    if not points or setting is None:
        return NOTHING + "\n"
    metric, costs = setting["metric"], COSTS | MORE_COSTS
    header = ["point", *_header(metric, costs)]
    rows = [[_named(point), *_numbers(point, metric, costs)] for point in points]
    lines = [header, ["---"] * len(header), *rows]
    cells = [" | ".join(cell.replace("|", "/") for cell in line) for line in lines]
    parts = [_title(setting), "\n".join(f"| {line} |" for line in cells), *_sections(stored, "- ")]
    return "\n\n".join(parts) + "\n"


def _named(point: Confirmed) -> str:
    return f"{point.title}: {', '.join(point.marks)}" if point.marks else point.title


def _title(setting: dict[str, Any]) -> str:
    return (
        f"Confirmed on {setting['n_test']} sealed test rows, trained on {setting['n_train']} rows;"
        " mean over seeds, standard deviation, 95 % bootstrap interval"
    )


def _header(metric: str, costs: Mapping[str, str]) -> list[str]:
    return ["seeds", metric, "+-", "95 %", "in search", *costs.values()]


def _numbers(point: Confirmed, metric: str, costs: Iterable[str]) -> list[str]:
    low, high = point.interval(metric)
    return [
        str(len(point.runs)),
        _value(metric, point.mean(metric)),
        _spread(metric, point.std(metric)),
        f"{_value(metric, low)} to {_value(metric, high)}",
        UNKNOWN if point.search_score is None else _value(metric, point.search_score),
        *(_value(name, point.mean(name)) for name in costs),
    ]


def _value(metric: str, value: float) -> str:
    return formatted(metric, value) if math.isfinite(value) else UNKNOWN


def _spread(metric: str, value: float) -> str:
    if not math.isfinite(value):
        return UNKNOWN
    return f"{100 * value:.2f}" if metric in SHARES else f"{value:.3g}"


def _sections(stored: optuna.Study, bullet: str = "  ") -> list[str]:
    found, curse = comparisons(stored), winners_curse(stored)
    parts = []
    if all(point.baseline for point in confirmed(stored)):
        parts.append(ONLY_BASELINES)
    if found:
        lines = [bullet + comparison.in_words for comparison in found]
        head = (
            f"Differences on the same test rows and seeds (rows and seeds drawn anew, p corrected"
            f" by Holm's rule for {len(found)}):\n"
        )
        parts.append("\n".join([head, *lines]))
    if any(comparison.n_seeds == 1 for comparison in found):
        parts.append(
            "With one seed the intervals say nothing of how trainings differ; take --seeds 3."
        )
    if curse is not None:
        parts.append(curse_in_words(curse))
    return parts


def curse_in_words(curse: WinnersCurse) -> str:
    """Return a sentence or two on how much too good the search's scores are."""
    chosen = in_points(curse.metric, curse.chosen)
    text = f"Winner's curse: search score less test score is {chosen} for the chosen points"
    if curse.baselines is None:
        return text + "; no baseline was confirmed to tell how much of it the other rows make."
    others = in_points(curse.metric, curse.baselines)
    estimate = in_points(curse.metric, curse.estimate)
    return (
        f"{text} and {others} for baselines, which nobody chose by their score: about {estimate}"
        " come of having been chosen."
    )


def as_csv(stored: optuna.Study) -> str:
    """Return every training as CSV: a row each, all metrics, empty where one does not apply."""
    points = confirmed(stored)
    names = sorted({name for point in points for run in point.runs for name in run.metrics})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["key", "title", "trial", "baseline", "chosen_as", "seed", *names])
    for point in points:
        about = [point.key, point.title, point.trial, point.baseline, "; ".join(point.marks)]
        for run in point.runs:
            writer.writerow([*about, run.seed, *(run.metrics.get(name) for name in names)])
    return file.getvalue()


def as_json(stored: optuna.Study) -> dict[str, Any]:
    """Return the results as plain data; what is not known is null."""
    setting, curse = setting_of(stored), winners_curse(stored)
    kept = ("metric", "n_train", "n_test", "seeds")
    return {
        "study": stored.study_name,
        **{name: None if setting is None else setting[name] for name in kept},
        "points": [_point_as_json(point) for point in confirmed(stored)],
        "comparisons": [_comparison_as_json(comparison) for comparison in comparisons(stored)],
        "winners_curse": None
        if curse is None
        else {
            "gaps": dict(curse.gaps),
            "chosen": curse.chosen,
            "baselines": curse.baselines,
            "estimate": curse.estimate,
        },
    }


def _point_as_json(point: Confirmed) -> dict[str, Any]:
    names = sorted({name for run in point.runs for name in run.metrics})
    return {
        "key": point.key,
        "title": point.title,
        "trial": point.trial,
        "baseline": point.baseline,
        "chosen_as": list(point.marks),
        "structure": point.structure,
        "search_score": point.search_score,
        "seeds": [run.seed for run in point.runs],
        "metrics": {
            name: {
                "mean": _known(point.mean(name)),
                "std": _known(point.std(name)),
                "interval": [_known(bound) for bound in point.interval(name)],
                "values": [_known(value) for value in point.values(name)],
            }
            for name in names
        },
    }


def _comparison_as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "point": comparison.point.key,
        "other": comparison.other.key,
        "metric": comparison.metric,
        "difference": comparison.difference,
        "interval": list(comparison.interval),
        "p_value": comparison.p_value,
        "corrected": comparison.corrected,
        "within_noise": comparison.within_noise,
        "in_words": comparison.in_words,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
