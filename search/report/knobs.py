"""Which knobs of the search matter, and what each of their values gave."""

from search.ending import n_trained
from search.importance import MIN_TRIALS, quantile_of
from search.objectives import METRICS
from search.report.chart_knobs import curves_chart, importance_chart
from search.report.document import Block, Figure, Paragraph, Section, Table
from search.report.facts import Fact, constant
from search.report.naming import knob_title, value_title
from search.report.sensitivity import Knob, sensitivity
from search.report.subject import Subject
from search.report.texts import Rich

_MAX_CURVES = 6


def knobs(subject: Subject) -> Section:
    """Return the importance of every knob for every objective, with curves of the greatest."""
    texts = subject.texts
    found = sensitivity(subject.stored, subject.models.names)
    blocks: list[Block] = []
    if found is None:
        least = constant("min_trials", MIN_TRIALS)
        # As many again as there are: most of those that a pruner stops say nothing here.
        wanted = max(24, 2 * n_trained(subject.stored.get_trials(deepcopy=False)))
        words = f"search --trials {wanted}"
        blocks.append(subject.missing("knobs.missing", words, least=(least,)))
        return Section(name="knobs", title=texts("knobs.title"), blocks=tuple(blocks))
    n_trials = Fact(value=found.n_trials, source="study:n_sampled", form="count")
    share = quantile_of(found.n_trials)
    top = Fact(value=share, source="study:top_share", form="share")
    blocks.append(Paragraph(text=texts("knobs.intro", n=n_trials, top=top)))
    if found.few:
        blocks.append(Paragraph(text=texts("knobs.few"), tone="note"))
    for name, ranked in zip(subject.models.names, found.knobs, strict=True):
        if ranked:
            blocks += _of_objective(subject, name, ranked)
    return Section(name="knobs", title=texts("knobs.title"), blocks=tuple(blocks))


def _of_objective(subject: Subject, name: str, ranked: tuple[Knob, ...]) -> list[Block]:
    texts = subject.texts
    metric = subject.metric(name)
    first, *_ = ranked
    words: Rich = texts(
        "knobs.first",
        metric=metric,
        knob=(knob_title(first.name, texts),),
        share=first.importance,
    )
    if METRICS[name].known:
        words = (*words, *texts("knobs.known"))
    bars = Figure(
        svg=importance_chart(ranked, texts),
        caption=texts("knobs.caption_bars", metric=metric),
        table=_importance_table(subject, ranked),
    )
    curves = Figure(
        svg=curves_chart(ranked[:_MAX_CURVES], name, texts),
        caption=texts("knobs.caption_curves", metric=subject.metric(name, unit=True)),
        table=_level_table(subject, name, ranked[:_MAX_CURVES]),
    )
    return [Paragraph(text=words, tone="lead"), bars, curves]


def _importance_table(subject: Subject, ranked: tuple[Knob, ...]) -> Table:
    texts = subject.texts
    rows = tuple(((knob_title(knob.name, texts),), (knob.importance,)) for knob in ranked)
    return Table(head=(texts("knobs.knob"), texts("knobs.importance")), rows=rows)


def _level_table(subject: Subject, name: str, ranked: tuple[Knob, ...]) -> Table:
    """The medians of all values of the knobs that have few of them."""
    texts = subject.texts
    rows: tuple[tuple[Rich, ...], ...] = tuple(
        (
            (knob_title(knob.name, texts),),
            (
                Fact(
                    value=value_title(level.value, texts),
                    source=f"level:{knob.name}:{level.value}",
                ),
            ),
            (level.median,),
        )
        for knob in ranked
        for level in knob.levels
    )
    head = (
        texts("knobs.knob"),
        texts("knobs.value"),
        texts("knobs.median", metric=subject.metric(name, unit=True)),
    )
    return Table(head=head, rows=rows, n_text=2)
