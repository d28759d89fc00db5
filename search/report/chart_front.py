"""The front drawn: quality against cost, baselines marked, confirmed scores with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.front import trained
from search.objectives import SHARES
from search.report.labels import Box, around, label
from search.report.models import Models
from search.report.naming import metric_title, plain_title
from search.report.svg import Axis, drawing, el, tick, tick_label, width_of
from search.report.texts import Texts

_WIDTH, _HEIGHT = 880.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 24.0, 44.0, 58.0
_ROOM_FOR_NAMES = 110.0
_SYMBOLS: dict[str, str] = {
    "front": "M0,-6A6,6 0 1,1 0,6A6,6 0 1,1 0,-6Z",
    "other": "M0,-4A4,4 0 1,1 0,4A4,4 0 1,1 0,-4Z",
    "baseline": "M-6,-6H6V6H-6Z",
    "tested": "M0,-7L6,0L0,7L-6,0Z",
}
Mark = Literal["front", "other", "baseline", "tested"]


class _Place:
    """From trials to pixels; and what is taken up there already."""

    def __init__(self, models: Models, tested: Sequence["_Tested"]) -> None:
        self._n_objectives = len(models.names)
        trials = trained(models.trials)
        up = [t.values[0] for t in trials]
        up += [value for point in tested for value in (point.mean, point.low, point.high)]
        # The dearest trials lie at the right, and their names to the right of them.
        right = _WIDTH - _RIGHT - _ROOM_FOR_NAMES
        self.x = Axis.over([self.cost(trial) for trial in trials], _LEFT, right)
        self.y = Axis.over(up, _HEIGHT - _BOTTOM, _TOP)
        self.taken: list[Box] = []

    def cost(self, trial: FrozenTrial) -> float:
        """The second objective; of a study of one, where a trial stands among all."""
        return float(trial.values[1]) if self._n_objectives > 1 else float(trial.number)

    def of(self, trial: FrozenTrial) -> tuple[float, float]:
        """Where a trial lies, in pixels."""
        return self.x.at(self.cost(trial)), self.y.at(trial.values[0])

    def mark(self, kind: Mark, trial: FrozenTrial, quality: float, source: str) -> Markup:
        """Draw a trial at its cost and some quality."""
        x, y = self.x.at(self.cost(trial)), self.y.at(quality)
        self.taken.append(around(x, y))
        return el(
            "path",
            d=_SYMBOLS[kind],
            transform=f"translate({x:.1f} {y:.1f})",
            class_=f"mark {kind}",
            data_source=source,
            data_x=repr(self.cost(trial)),
            data_y=repr(quality),
        )


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """A confirmed model that lies in the figure."""

    key: str
    trial: FrozenTrial
    mean: float
    low: float
    high: float


def front_chart(models: Models, texts: Texts) -> Markup:
    """Draw the first objective against the second; a study of one has trial numbers there."""
    tested = _tested(models)
    place = _Place(models, tested)
    parts = [
        *_frame(models, texts, place.x, place.y),
        _staircase(models, place),
        *_trials(models, place),
        *(part for point in tested for part in _confirmed(point, place)),
        *_ring(models, place),
        *_names(models, place, texts),
        _legend(models, texts, bool(tested)),
    ]
    return drawing(_WIDTH, _HEIGHT, texts.word("front.figure"), *parts)


def _tested(models: Models) -> list[_Tested]:
    """Return the confirmed models that lie in the figure.

    It shows the objectives as the search had them: full fine-tuning has none.
    """
    found = []
    for model in models.confirmed:
        mean, low, high = (model.tested(what, models.metric) for what in ("mean", "low", "high"))
        if model.trial is None or models.metric != models.names[0]:
            continue
        if mean is not None and low is not None and high is not None:
            values = {"mean": mean, "low": low, "high": high}
            numbers = {name: float(fact.value) for name, fact in values.items()}
            found.append(_Tested(key=model.key, trial=model.trial, **numbers))
    return found


def _trials(models: Models, place: _Place) -> list[Markup]:
    on_front = {model.trial.number for model in models.front if model.trial is not None}
    parts = []
    for trial in trained(models.trials):
        kind: Mark = "front" if trial.number in on_front else "other"
        if "baseline" in trial.user_attrs:
            kind = "baseline"
        parts.append(place.mark(kind, trial, trial.values[0], f"trial:{trial.number}"))
    return parts


def _confirmed(point: _Tested, place: _Place) -> list[Markup]:
    """Draw a confirmed mean with its interval."""
    x = place.x.at(place.cost(point.trial))
    low, high = place.y.at(point.low), place.y.at(point.high)
    place.taken.append(Box(left=x - 4, right=x + 4, top=high, bottom=low))
    caps = f"M{x - 4:.1f},{low:.1f}h8M{x:.1f},{low:.1f}V{high:.1f}M{x - 4:.1f},{high:.1f}h8"
    mark = place.mark("tested", point.trial, point.mean, f"confirmed:{point.key}")
    return [el("path", d=caps, class_="whisker"), mark]


def _ring(models: Models, place: _Place) -> list[Markup]:
    if models.knee is None or models.knee.trial is None:
        return []
    x, y = place.of(models.knee.trial)
    return [el("circle", cx=x, cy=y, r=11.0, class_="ring")]


def _names(models: Models, place: _Place, texts: Texts) -> list[Markup]:
    """Write names where there is room: the knee's first, then baselines, then the front."""
    named = [models.knee, *models.baselines, *models.front]
    area = Box(left=_LEFT, top=_TOP - 20, right=_WIDTH - 4, bottom=_HEIGHT - _BOTTOM)
    parts = []
    for model in {model.key: model for model in named if model is not None}.values():
        if model.trial is not None:
            x, y = place.of(model.trial)
            text = plain_title(model, texts)
            parts += label(text, x, y, f"model:{model.key}", place.taken, area)
    return parts


def _frame(models: Models, texts: Texts, x: Axis, y: Axis) -> list[Markup]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    ticks_y, ticks_x = y.ticks(5), x.ticks(7)
    for value in ticks_y:
        at = y.at(value)
        parts.append(el("line", x1=_LEFT, x2=right, y1=at, y2=at, class_="grid"))
        label = tick_label(value, ticks_y, models.names[0] in SHARES)
        parts.append(tick(y, value, label, x=_LEFT - 8))
    cost = models.names[1] if len(models.names) > 1 else ""
    for value in ticks_x:
        at = x.at(value)
        parts.append(el("line", x1=at, x2=at, y1=_TOP, y2=bottom, class_="grid"))
        parts.append(tick(x, value, tick_label(value, ticks_x, cost in SHARES), y=bottom + 18))
    titles = [_axis_title(models, 0, texts)]
    titles.append(_axis_title(models, 1, texts) if cost else texts.word("front.axis_trial"))
    parts.append(el("text", titles[0], x=8.0, y=_TOP - 26, class_="axis"))
    middle = (_LEFT + right) / 2
    parts.append(
        el("text", titles[1], x=middle, y=bottom + 42, text_anchor="middle", class_="axis")
    )
    return parts


def _axis_title(models: Models, index: int, texts: Texts) -> str:
    lower = models.directions[index] == StudyDirection.MINIMIZE
    way = texts.word("axis.lower" if lower else "axis.higher")
    return texts.word("axis.title").format(
        name=metric_title(models.names[index], texts, unit=True), way=way
    )


def _staircase(models: Models, place: _Place) -> Markup:
    """The best that a budget buys, stepping at each point of the front."""
    if len(models.names) != 2 or models.directions[1] != StudyDirection.MINIMIZE:
        return Markup("")
    points = [place.of(model.trial) for model in models.front if model.trial is not None]
    ends = [x for x, _ in points[1:]] + [_WIDTH - _RIGHT]
    steps = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for (x, y), end in zip(points, ends, strict=True):
        steps.append(f"V{y:.1f}H{end:.1f}")
        place.taken.append(Box(left=x, right=end, top=y - 1, bottom=y + 1))
    return el("path", d="".join(steps), class_="stairs")


def _legend(models: Models, texts: Texts, tested: bool) -> Markup:
    """The marks that the figure has, along its top, from the right."""
    kinds: list[Mark] = ["front", "other", "baseline"]
    if len(models.front) == len(trained(models.trials)):
        kinds.remove("other")
    if not any(model.trial for model in models.baselines):
        kinds.remove("baseline")
    kinds += ["tested"] if tested else []
    words = [texts.word(f"legend.{kind}") for kind in kinds]
    left = _WIDTH - _RIGHT - sum(width_of(word, 12) + 30 for word in words)
    parts = []
    for kind, word in zip(kinds, words, strict=True):
        symbol = el(
            "path",
            d=_SYMBOLS[kind],
            class_=f"mark {kind}",
            transform=f"translate({left + 8:.1f} {_TOP - 22:.1f})",
        )
        parts += [symbol, el("text", word, x=left + 19, y=_TOP - 18, class_="name")]
        left += width_of(word, 12) + 30
    return Markup("").join(parts)
