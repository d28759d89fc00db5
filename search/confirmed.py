"""What `paradapt confirm` found, read from a study's storage.

Each training is one attribute of the study, `confirmed.<key>.<seed>`; those of another contract
than the last command's (other test rows, another way to train) are passed by.
"""

import base64
import io
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy
import optuna

from search.objectives import METRICS, SHARES
from search.row_sums import ROW_METRICS, Outcomes
from search.statistics import (
    LEVEL,
    Floats,
    holm,
    interval_of,
    p_value_of,
    resampled_means,
    resampled_scores,
)

CONFIRM = "confirm"
"""Study attribute: what all confirmed trainings have in common, and which metric is tested."""
PREFIX = "confirmed."


@dataclass(frozen=True, kw_only=True)
class ConfirmedRun:
    """One training on all training rows, scored on the test split."""

    key: str
    """`trial-12`, or the name of a baseline or reference."""
    seed: int
    metrics: Mapping[str, float]
    """Of the task, on the test split (the loss is `test_loss`); and train_s, peak_memory_mib,
    latency_ms, latency_ratio, throughput (rows a second), inference_gflops, training_gflops,
    trainable_params, adapter_mib; what does not apply is left out."""
    outcomes: Outcomes = field(default_factory=dict, repr=False)
    """For each test row what it was answered (see trainers/outcomes.py)."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data for the storage."""
        return {
            "metrics": dict(self.metrics),
            "outcomes": _packed(self.outcomes) if self.outcomes else None,
        }

    @classmethod
    def from_json(cls, key: str, seed: int, content: Mapping[str, Any]) -> "ConfirmedRun":
        """Read what `to_json` gave."""
        packed = content["outcomes"]
        return cls(
            key=key,
            seed=seed,
            metrics=content["metrics"],
            outcomes=_unpacked(packed) if packed else {},
        )


def _packed(outcomes: Outcomes) -> str:
    file = io.BytesIO()
    numpy.savez_compressed(file, allow_pickle=False, **outcomes)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _unpacked(text: str) -> Outcomes:
    with numpy.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as file:
        return dict(file)


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """One point over its seeds."""

    key: str
    title: str
    """For people."""
    trial: int | None
    """The trial that it is; None: of no trial (full fine-tuning, TF-IDF)."""
    baseline: str | None
    """The name of a baseline or reference; None: a structure that the search found."""
    marks: tuple[str, ...] = ()
    """Why it was chosen: `knee`, `most accurate`, ...; none where it only is compared with."""
    search_score: float | None = None
    """Of the tested metric, as the search saw it on the validation rows."""
    structure: str = ""
    """In words."""
    runs: tuple[ConfirmedRun, ...]
    """One for each seed, in their order."""

    def values(self, metric: str) -> list[float]:
        """Return a metric's value for each seed, without those that lack it."""
        return [run.metrics[metric] for run in self.runs if metric in run.metrics]

    def mean(self, metric: str) -> float:
        """Return the mean over the seeds; NaN where none has the metric."""
        values = self.values(metric)
        return statistics.fmean(values) if values else float("nan")

    def std(self, metric: str) -> float:
        """Return the standard deviation (of a sample) over the seeds; NaN with fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else float("nan")

    def interval(self, metric: str) -> tuple[float, float]:
        """Return the 95 % bootstrap interval of the mean.

        Rows and seeds are resampled for the metrics of a task; of what rows do not make (times,
        the loss) the seeds alone are, and one seed gives no width.
        """
        values = self.values(metric)
        if not values:
            return float("nan"), float("nan")
        if not self.has_rows(metric):
            return interval_of(resampled_means(values))
        return interval_of(self.resampled(metric, tuple(run.seed for run in self.runs)))

    def has_rows(self, metric: str) -> bool:
        """Whether a metric can be computed of resampled rows."""
        known = ROW_METRICS.get(metric)
        return known is not None and all(
            set(known.needs) <= run.outcomes.keys() for run in self.runs
        )

    def resampled(self, metric: str, seeds: tuple[int, ...]) -> Floats:
        """Return the mean over some seeds in every resample of rows and seeds."""
        cached = self._resampled.get((metric, seeds))
        if cached is None:
            how = ROW_METRICS[metric]
            by_seed = {run.seed: run.outcomes for run in self.runs}
            sums = [how.columns(by_seed[seed]) for seed in seeds]
            cached = self._resampled[metric, seeds] = resampled_scores(sums, how.value)
        return cached

    @cached_property
    def _resampled(self) -> dict[tuple[str, tuple[int, ...]], Floats]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A chosen point against a baseline or reference, on the same test rows and seeds."""

    point: Confirmed
    other: Confirmed
    metric: str
    difference: float
    """Of the means over the seeds that both have: point less other."""
    interval: tuple[float, float]
    """95 %, of the difference."""
    p_value: float
    corrected: float
    """The p-value by Holm's rule for all comparisons of the study."""
    n_seeds: int

    @property
    def within_noise(self) -> bool:
        """Whether chance alone may have made the difference."""
        return self.corrected >= LEVEL

    @property
    def better(self) -> bool:
        """Whether the point has the better mean, noise or not."""
        up = METRICS[self.metric].direction == "maximize"
        return self.difference > 0 if up else self.difference < 0

    @property
    def in_words(self) -> str:
        """One sentence for people."""
        low, high = (in_points(self.metric, bound).split()[0] for bound in self.interval)
        chance = f"95 % interval {low} to {high}, corrected p {p_in_words(self.corrected)}"
        size = in_points(self.metric, abs(self.difference), sign=False)
        if self.within_noise:
            return (
                f"{self.point.title} and {self.other.title}: the difference of"
                f" {in_points(self.metric, self.difference)} is within noise ({chance})."
            )
        way = "better" if self.better else "worse"
        return f"{self.point.title} is {way} than {self.other.title} by {size} ({chance})."


def in_points(metric: str, difference: float, *, sign: bool = True) -> str:
    """Return a difference for people: of shares in points of percent."""
    plus = "+" if sign else ""
    if metric in SHARES:
        return f"{100 * difference:{plus}.2f} points"
    return f"{difference:{plus}.4g}"


def p_in_words(p_value: float) -> str:
    """Return a p-value as papers write it."""
    return "< .001" if p_value < 0.001 else f"= {p_value:.3f}".replace("0.", ".", 1)


def setting_of(stored: optuna.Study) -> dict[str, Any] | None:
    """Return what confirmed trainings have in common (see search/confirm.py); None: no command ran.

    `metric` is the tested one, `n_test` and `n_train` count rows, `seeds` are those wanted.
    """
    found: dict[str, Any] | None = stored.user_attrs.get(CONFIRM)
    return found


def confirmed(stored: optuna.Study) -> list[Confirmed]:
    """Return the confirmed points, chosen ones first, then baselines and references.

    [] where nothing was confirmed. A command that was cut off leaves points of fewer seeds.
    """
    setting = setting_of(stored)
    if setting is None:
        return []
    entries: dict[str, dict[int, dict[str, Any]]] = {}
    for name, content in stored.user_attrs.items():
        if name.startswith(PREFIX) and content["contract"] == setting["contract"]:
            key, _, seed = name.removeprefix(PREFIX).rpartition(".")
            entries.setdefault(key, {})[int(seed)] = content
    points = []
    for key, about in setting["points"].items():
        if key in entries:
            runs = (ConfirmedRun.from_json(key, s, c) for s, c in sorted(entries[key].items()))
            fields = {**about, "marks": tuple(about["marks"])}
            points.append(Confirmed(key=key, runs=tuple(runs), **fields))
    return points


def comparisons(stored: optuna.Study) -> list[Comparison]:
    """Return each chosen point against each baseline and reference, p-values corrected."""
    setting, points = setting_of(stored), confirmed(stored)
    if setting is None:
        return []
    metric, found = setting["metric"], []
    for point in points:
        for other in points:
            if not point.marks or other.baseline is None or other.key == point.key:
                continue
            seeds = _common_seeds(point, other)
            if seeds and point.has_rows(metric) and other.has_rows(metric):
                found.append((point, other, seeds, _differences(point, other, metric, seeds)))
    p_values = [p_value_of(differences) for *_, differences in found]
    return [
        Comparison(
            point=point,
            other=other,
            metric=metric,
            difference=_mean(point, metric, seeds) - _mean(other, metric, seeds),
            interval=interval_of(differences),
            p_value=p_value,
            corrected=corrected,
            n_seeds=len(seeds),
        )
        for (point, other, seeds, differences), p_value, corrected in zip(
            found, p_values, holm(p_values), strict=True
        )
    ]


def _common_seeds(point: Confirmed, other: Confirmed) -> tuple[int, ...]:
    theirs = {run.seed for run in other.runs}
    return tuple(run.seed for run in point.runs if run.seed in theirs)


def _differences(point: Confirmed, other: Confirmed, metric: str, seeds: tuple[int, ...]) -> Floats:
    return point.resampled(metric, seeds) - other.resampled(metric, seeds)


def _mean(point: Confirmed, metric: str, seeds: tuple[int, ...]) -> float:
    return statistics.fmean(run.metrics[metric] for run in point.runs if run.seed in seeds)


@dataclass(frozen=True, kw_only=True)
class WinnersCurse:
    """How much too good the search's scores of the chosen points are.

    Search and confirmation differ in rows and in how much was trained on, for all points alike;
    baselines, which nobody chose for their score, tell how much that is. What chosen points lose
    beyond it is the price of having been chosen by their score.
    """

    metric: str
    gaps: Mapping[str, float]
    """For each point of a trial: search score less mean test score, greater = lost more (of a
    metric that is minimised with its sign turned)."""
    chosen: float
    """Mean gap of the chosen points."""
    baselines: float | None
    """Mean gap of the baselines that were not chosen; None: there are none."""

    @property
    def estimate(self) -> float:
        """What having been chosen makes a score too good by."""
        return self.chosen - (self.baselines or 0.0)


def winners_curse(stored: optuna.Study) -> WinnersCurse | None:
    """Return the estimate; None where no chosen point was confirmed."""
    setting, points = setting_of(stored), confirmed(stored)
    if setting is None:
        return None
    metric = setting["metric"]
    sign = 1 if METRICS[metric].direction == "maximize" else -1
    gaps = {
        p.key: sign * (p.search_score - p.mean(metric))
        for p in points
        if p.search_score is not None
    }
    chosen = [gaps[p.key] for p in points if p.key in gaps and p.marks and p.baseline is None]
    others = [
        gaps[p.key] for p in points if p.key in gaps and p.baseline is not None and not p.marks
    ]
    if not chosen:
        return None
    return WinnersCurse(
        metric=metric,
        gaps=gaps,
        chosen=statistics.fmean(chosen),
        baselines=statistics.fmean(others) if others else None,
    )
