"""Confirmed scores drawn: a dot for the mean of every model, a line for its 95 % interval."""

from markupsafe import Markup

from search.objectives import SHARES
from search.report.models import Model, Models
from search.report.naming import metric_title, plain_title
from search.report.svg import Axis, drawing, el, tick, tick_label, width_of
from search.report.texts import Texts
from search.report.verdict import Verdict

_WIDTH, _ROW, _TOP, _BOTTOM, _RIGHT = 880.0, 30.0, 12.0, 52.0, 30.0


def confirmed_chart(models: Models, verdict: Verdict, texts: Texts) -> Markup:
    """Draw one row a model, the best mean first, what is recommended set off."""
    rows = [m for m in models.confirmed if m.tested("mean", models.metric) is not None]
    rows.sort(key=lambda model: _of(model, models, "mean"), reverse=True)
    names = [plain_title(model, texts) for model in rows]
    left = 16 + max(width_of(name) for name in names)
    bounds = [_of(m, models, what) for m in rows for what in ("low", "mean", "high")]
    x = Axis.over(bounds, left, _WIDTH - _RIGHT)
    bottom = _TOP + _ROW * len(rows)
    parts = _frame(models, texts, x, bottom)
    if verdict.best is not None:
        at = x.at(_of(verdict.best, models, "mean"))
        parts.append(el("line", x1=at, x2=at, y1=_TOP, y2=bottom, class_="best"))
    for index, (model, name) in enumerate(zip(rows, names, strict=True)):
        parts += _row(model, models, name, x, _TOP + _ROW * (index + 0.5), verdict)
    return drawing(_WIDTH, bottom + _BOTTOM, texts.word("confirmed.figure"), *parts)


def _row(
    model: Model, models: Models, name: str, x: Axis, y: float, verdict: Verdict
) -> list[Markup]:
    recommended = verdict.model is not None and model.key == verdict.model.key
    kind = "knee" if recommended else "front" if model.found else "baseline"
    low, mean, high = (_of(model, models, what) for what in ("low", "mean", "high"))
    label = {"x": x.start - 12, "y": y + 4, "text_anchor": "end"}
    return [
        el(
            "text",
            name,
            **label,
            class_="name chosen" if recommended else "name",
            data_source=f"model:{model.key}",
        ),
        el("line", x1=x.at(low), x2=x.at(high), y1=y, y2=y, class_=f"interval {kind}"),
        el(
            "circle",
            cx=x.at(mean),
            cy=y,
            r=6.0,
            class_=f"mark {kind}",
            data_source=f"confirmed:{model.key}",
            data_x=repr(mean),
            data_low=repr(low),
            data_high=repr(high),
        ),
    ]


def _frame(models: Models, texts: Texts, x: Axis, bottom: float) -> list[Markup]:
    parts = []
    ticks = x.ticks(7)
    for value in ticks:
        at = x.at(value)
        parts.append(el("line", x1=at, x2=at, y1=_TOP, y2=bottom, class_="grid"))
        label = tick_label(value, ticks, models.metric in SHARES)
        parts.append(tick(x, value, label, y=bottom + 18))
    words = metric_title(models.metric, texts, unit=True)
    middle = (x.start + x.end) / 2
    parts.append(el("text", words, x=middle, y=bottom + 42, text_anchor="middle", class_="axis"))
    return parts


def _of(model: Model, models: Models, what: str) -> float:
    fact = model.tested(what, models.metric)
    assert fact is not None
    return float(fact.value)
