"""The models that a report speaks of: what the search found, the baselines and the references."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.confirmed import Comparison, Confirmed, comparisons, confirmed, setting_of
from search.front import knee, pareto_front, trained
from search.ranking import losses_of
from search.report.facts import Fact, form_of, trial_metric


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """One thing that could be put to use."""

    key: str
    """`trial-12`, or the name of a baseline or reference; confirmed results go by the same."""
    trial: FrozenTrial | None
    point: Confirmed | None
    """Its confirmed results; None: not confirmed."""
    baseline: str | None

    @property
    def found(self) -> bool:
        """Whether the search found it: it is no baseline and no reference."""
        return self.baseline is None

    def searched(self, metric: str) -> Fact | None:
        """Return what the search measured on validation data."""
        return None if self.trial is None else trial_metric(self.trial, metric)

    def tested(self, what: str, metric: str) -> Fact | None:
        """Return the mean, std, low or high (of the interval) of a metric over confirmed runs."""
        if self.point is None or not self.point.values(metric):
            return None
        low, high = self.point.interval(metric) if what in ("low", "high") else (0.0, 0.0)
        value = {
            "mean": self.point.mean(metric),
            "std": self.point.std(metric),
            "low": low,
            "high": high,
        }[what]
        if not math.isfinite(value):
            return None
        source = f"confirmed:{self.key}:{what}:{metric}"
        return Fact(value=value, source=source, form=form_of(metric))

    def measured(self, metric: str) -> Fact | None:
        """Return a cost as confirmed, else as the search measured it."""
        return self.tested("mean", metric) or self.searched(metric)

    def n_seeds(self) -> Fact:
        """Return on how many seeds it was confirmed."""
        n_runs = 0 if self.point is None else len(self.point.runs)
        return Fact(value=n_runs, source=f"confirmed:{self.key}:n", form="count")


@dataclass(frozen=True, kw_only=True)
class Models:
    """All models of a study, and how they stand to each other."""

    names: tuple[str, ...]
    """The objectives."""
    directions: tuple[optuna.study.StudyDirection, ...]
    trials: Sequence[FrozenTrial]
    front: tuple[Model, ...]
    """Cheapest first."""
    knee: Model | None
    baselines: tuple[Model, ...]
    """Trained baselines, in the order of their trials; then references that were confirmed."""
    confirmed: tuple[Model, ...]
    """Chosen points first, then what they are compared with."""
    comparisons: tuple[Comparison, ...]
    metric: str
    """The metric of quality: the first objective, or what was confirmed."""

    @property
    def chosen(self) -> tuple[Model, ...]:
        """The models that `confirm` was asked to confirm."""
        return tuple(m for m in self.confirmed if m.point is not None and m.point.marks)

    @property
    def shown(self) -> tuple[Model, ...]:
        """The models whose costs are told side by side: what could be chosen, then the rest."""
        candidates = self.chosen or tuple(m for m in self._ends_of_front() if m.found)
        keys = {model.key for model in candidates}
        return (*candidates, *(m for m in self.baselines if m.key not in keys))

    @property
    def most_accurate(self) -> Model | None:
        """The point of the front that is best in the first objective."""
        if not self.front:
            return None
        return min(self.front, key=lambda m: self._losses(m)[0])

    def comparison(self, model: Model, other: Model) -> Comparison | None:
        """Return the test of a chosen model against another, if there is one."""
        for found in self.comparisons:
            if (found.point.key, found.other.key) == (model.key, other.key):
                return found
        return None

    def _ends_of_front(self) -> tuple[Model, ...]:
        """The knee, the most accurate and the cheapest point, each once."""
        if not self.front or self.knee is None or self.most_accurate is None:
            return ()
        chosen = (self.knee, self.most_accurate, self.front[0])
        return tuple({model.key: model for model in chosen}.values())

    def _losses(self, model: Model) -> tuple[float, ...]:
        return losses_of(model.trial.values if model.trial else (), self.directions)


def gather(stored: optuna.Study, names: Sequence[str]) -> Models:
    """Return the models of a study as its storage has them."""
    trials = stored.get_trials(deepcopy=False)
    directions = tuple(stored.directions)
    points = {point.key: point for point in confirmed(stored)}
    complete = {t.number: _model(t, points) for t in trained(trials)}
    front = pareto_front(trials, directions)
    by_key = {model.key: model for model in complete.values()}
    for key, point in points.items():
        if key not in by_key:
            trial = None if point.trial is None else trials[point.trial]
            by_key[key] = Model(key=key, trial=trial, point=point, baseline=point.baseline)
    setting = setting_of(stored)
    return Models(
        names=tuple(names),
        directions=directions,
        trials=trials,
        front=tuple(complete[t.number] for t in front),
        knee=complete[knee(front, directions).number] if front else None,
        baselines=tuple(model for model in by_key.values() if not model.found),
        confirmed=tuple(by_key[key] for key in points),
        comparisons=tuple(comparisons(stored)),
        metric=names[0] if setting is None else setting["metric"],
    )


def _model(trial: FrozenTrial, points: Mapping[str, Confirmed]) -> Model:
    baseline = trial.user_attrs.get("baseline")
    key = baseline or f"trial-{trial.number}"
    return Model(key=key, trial=trial, point=points.get(key), baseline=baseline)
