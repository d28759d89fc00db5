"""What the search found, and what held on the test split."""

from collections.abc import Sequence

from search.confirmed import setting_of, winners_curse
from search.report.chart_confirmed import confirmed_chart
from search.report.chart_front import front_chart
from search.report.document import Block, Figure, Paragraph, Section, Table
from search.report.facts import Fact, constant, difference_form, form_of, trial_value
from search.report.findings import LEVEL_PCT
from search.report.models import Model
from search.report.naming import structure, title
from search.report.subject import Subject
from search.report.texts import Rich
from search.report.verdict import Finding, findings_of
from search.statistics import LEVEL

_MAX_ROWS = 15


def front(subject: Subject) -> Section:
    """Return the front as a figure and a table, with the baselines that are not on it."""
    texts, models = subject.texts, subject.models
    blocks: list[Block] = []
    if not models.front:
        blocks.append(subject.missing("front.missing", "search"))
    else:
        if len(models.names) == 1:
            blocks.append(Paragraph(text=texts("front.one_objective"), tone="note"))
        caption = texts("front.caption" if len(models.names) == 2 else "front.caption_points")
        figure = Figure(svg=front_chart(models, texts), caption=caption)
        blocks += [figure, _front_table(subject)]
        blocks.append(Paragraph(text=texts("front.note"), tone="note"))
    return Section(name="front", title=texts("front.title"), blocks=tuple(blocks))


def _front_table(subject: Subject) -> Table:
    texts, models = subject.texts, subject.models
    shown = models.front[:_MAX_ROWS]
    on_front = {model.key for model in models.front}
    beside = [m for m in models.baselines if m.trial and m.key not in on_front]
    listed = (*shown, *beside)
    also = [name for name in ("trainable_params",) if name not in models.names]
    rows = [
        (
            _marked_title(subject, model, on_front),
            *_objectives(model, models.names),
            *(subject.cell(model.searched(name)) for name in also),
            structure(model, texts),
        )
        for model in listed
    ]
    head = (
        texts("table.model"),
        *(subject.metric(name, unit=True) for name in (*models.names, *also)),
        texts("table.structure"),
    )
    caption: Rich = ()
    if len(models.front) > len(shown):
        n_all = Fact(value=len(models.front), source="study:n_front", form="count")
        caption = texts("front.cut", shown=constant("max_rows", _MAX_ROWS), all=n_all)
    return Table(
        head=head,
        rows=tuple(rows),
        last_is_text=True,
        marked=frozenset(i for i, model in enumerate(listed) if model is models.knee),
        caption=caption,
    )


def _marked_title(subject: Subject, model: Model, on_front: set[str]) -> Rich:
    marks: Rich = ()
    if model is subject.models.knee:
        marks = subject.texts("front.knee_mark")
    elif model.key not in on_front:
        marks = subject.texts("front.beside_mark")
    return (*title(model, subject.texts), *marks)


def _objectives(model: Model, names: Sequence[str]) -> list[Rich]:
    assert model.trial is not None
    return [(trial_value(model.trial, index, name),) for index, name in enumerate(names)]


def confirmed(subject: Subject) -> Section:
    """Return the confirmed results, the comparisons, and what having been chosen cost."""
    texts, models = subject.texts, subject.models
    blocks: list[Block] = []
    if not models.front:
        blocks.append(subject.missing("front.missing", "search"))
    elif not models.confirmed:
        key = "confirmed.missing" if subject.study.data.test else "confirmed.no_test"
        blocks.append(subject.missing(key, "confirm --seeds 3"))
    else:
        caption = texts("confirmed.caption", level=LEVEL_PCT)
        figure = Figure(svg=confirmed_chart(models, subject.verdict, texts), caption=caption)
        blocks += [Paragraph(text=_protocol(subject)), *_unfinished(subject)]
        blocks += [figure, _scores(subject)]
        blocks += _comparisons(subject)
        blocks += _curse(subject)
    return Section(name="confirmed", title=texts("confirmed.title"), blocks=tuple(blocks))


def _protocol(subject: Subject) -> Rich:
    setting = setting_of(subject.stored) or {}
    rows = {
        name: Fact(value=setting[name], source=f"confirm:{name}", form="count")
        for name in ("n_train", "n_test")
    }
    seeds = Fact(value=len(setting["seeds"]), source="confirm:n_seeds", form="count")
    return subject.texts("confirmed.protocol", seeds=seeds, **rows)


def _unfinished(subject: Subject) -> list[Block]:
    """Say where trainings are missing, or too few to tell how they differ."""
    setting, models = setting_of(subject.stored) or {}, subject.models.confirmed
    n_runs = [len(model.point.runs) for model in models if model.point is not None]
    n_wanted = len(setting["points"]) * len(setting["seeds"])
    found: list[Block] = []
    if sum(n_runs) < n_wanted:
        done = Fact(value=sum(n_runs), source="study:n_confirmed_runs", form="count")
        wanted = Fact(value=n_wanted, source="confirm:n_wanted", form="count")
        words = f"confirm --seeds {len(setting['seeds'])}"
        found.append(subject.missing("confirmed.unfinished", words, done=(done,), wanted=(wanted,)))
    if min(n_runs) == 1:
        found.append(Paragraph(text=subject.texts("confirmed.one_seed"), tone="note"))
    return found


def _scores(subject: Subject) -> Table:
    texts, models = subject.texts, subject.models
    chosen = subject.verdict.model
    metric = subject.metric(models.metric)
    head = (
        texts("table.model"),
        texts("confirmed.seeds"),
        texts("confirmed.mean", metric=metric),
        texts("confirmed.std"),
        texts("confirmed.interval", level=LEVEL_PCT),
        texts("confirmed.search_score"),
        subject.metric(subject.verdict.cost, unit=True),
    )
    marked = (i for i, m in enumerate(models.confirmed) if chosen and m.key == chosen.key)
    return Table(
        head=head,
        rows=tuple(_score(subject, model) for model in models.confirmed),
        marked=frozenset(marked),
    )


def _score(subject: Subject, model: Model) -> tuple[Rich, ...]:
    texts, metric = subject.texts, subject.models.metric
    mean, std, low, high = (model.tested(what, metric) for what in ("mean", "std", "low", "high"))
    interval = texts("cell.none")
    if low is not None and high is not None:
        interval = texts("cell.interval", low=low, high=high)
    return (
        title(model, texts),
        (model.n_seeds(),),
        subject.cell(mean),
        subject.cell(std),
        interval,
        subject.cell(_search_score(model, metric)),
        subject.cell(model.measured(subject.verdict.cost)),
    )


def _search_score(model: Model, metric: str) -> Fact | None:
    if model.point is None or model.point.search_score is None:
        return None
    source = f"confirmed:{model.key}:search_score"
    return Fact(value=model.point.search_score, source=source, form=form_of(metric))


def _comparisons(subject: Subject) -> list[Block]:
    texts, models = subject.texts, subject.models
    found = [
        finding
        for model in models.chosen
        for finding in findings_of(models, model, subject.verdict.cost)
    ]
    if not found:
        return [Paragraph(text=texts("confirmed.no_comparison"), tone="note")]
    head = (
        texts("compare.pair"),
        texts("compare.verdict"),
        texts("compare.difference"),
        texts("confirmed.interval", level=LEVEL_PCT),
        texts("compare.p"),
        texts("compare.cost", cost=subject.metric(subject.verdict.cost)),
    )
    rows = tuple(_comparison(subject, finding) for finding in found)
    note = texts("compare.note", chance=constant("chance_pct", round(100 * LEVEL)))
    return [Table(head=head, rows=rows, n_text=2), Paragraph(text=note, tone="note")]


def _comparison(subject: Subject, finding: Finding) -> tuple[Rich, ...]:
    texts = subject.texts
    assert finding.low is not None and finding.high is not None and finding.p is not None
    pair = texts(
        "compare.pair_text", model=title(finding.model, texts), other=title(finding.other, texts)
    )
    return (
        pair,
        texts(f"compare.{finding.kind}"),
        (finding.difference,),
        texts("cell.interval", low=finding.low, high=finding.high),
        (finding.p,),
        subject.cell(finding.cost_share),
    )


def _curse(subject: Subject) -> list[Block]:
    """Return by how much the search's own scores are too good."""
    curse = winners_curse(subject.stored)
    if curse is None:
        return []
    form = difference_form(curse.metric)
    chosen = Fact(value=curse.chosen, source="curse:chosen", form=form)
    if curse.baselines is None:
        return [Paragraph(text=subject.texts("curse.alone", chosen=chosen))]
    others = Fact(value=curse.baselines, source="curse:baselines", form=form)
    estimate = Fact(value=curse.estimate, source="curse:estimate", form=form)
    text = subject.texts("curse.text", chosen=chosen, baselines=others, estimate=estimate)
    return [Paragraph(text=text)]
