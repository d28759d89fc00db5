"""The first page of a report: what to do and why, the question, the data and the protocol."""

from collections.abc import Mapping

from search.report.document import Block, Bullets, Paragraph, Section, Table, Tile, Tiles
from search.report.facts import Fact, of_file
from search.report.findings import LEVEL_PCT, described, finding_sentence, headline, outcome
from search.report.naming import title
from search.report.ownership import backbone_ms, running, search_seconds
from search.report.subject import Subject
from search.report.texts import Rich
from search.report.verdict import cost_share
from search.snapshot import FACTS
from search.store import CONTRACT
from search.tables import counts

_MAX_CLASSES = 12
_COUNTS = ("complete", "pruned", "failed", "infeasible", "interrupted", "equal", "running")


def summary(subject: Subject) -> Section:
    """Return what a reader should know who reads no further."""
    blocks: list[Block] = [Paragraph(text=headline(subject), tone="strong"), *described(subject)]
    if not subject.models.front:
        blocks.append(subject.missing("front.missing", "search"))
    else:
        blocks.append(Tiles(tiles=_tiles(subject)))
        items = outcome(subject)
        if not subject.verdict.is_confirmed:
            items = [finding_sentence(finding, subject) for finding in subject.verdict.findings]
        blocks += [Bullets(items=tuple(items))] if items else []
        if not subject.verdict.is_confirmed:
            blocks.append(subject.missing("confirmed.missing", "confirm --seeds 3"))
    return Section(name="summary", title=subject.texts("summary.title"), blocks=tuple(blocks))


def _tiles(subject: Subject) -> tuple[Tile, ...]:
    texts, models, verdict = subject.texts, subject.models, subject.verdict
    model = verdict.model
    assert model is not None
    tiles = []
    if verdict.is_confirmed:
        mean, low, high = (model.tested(what, models.metric) for what in ("mean", "low", "high"))
        note: Rich = ()
        if low is not None and high is not None:
            note = texts("tile.interval", level=LEVEL_PCT, low=low, high=high)
        label = texts("tile.tested", metric=subject.metric(models.metric))
        tiles.append(Tile(label=label, value=subject.cell(mean), note=note))
    else:
        score = model.searched(models.names[0])
        label = texts("tile.searched", metric=subject.metric(models.names[0]))
        tiles.append(Tile(label=label, value=subject.cell(score), note=texts("tile.searched_note")))
    cost = model.measured(verdict.cost)
    share_note: Rich = ()
    for other in models.baselines:
        share = cost_share(model, other, verdict.cost)
        if other.key == "lora_all" and share is not None and other.key != model.key:
            share_note = texts("tile.share", share=share, other=title(other, texts))
    label = subject.metric(verdict.cost, unit=True)
    tiles.append(Tile(label=label, value=subject.cell(cost), note=share_note))
    size = model.measured("adapter_mib")
    label = subject.metric("adapter_mib", unit=True)
    tiles.append(Tile(label=label, value=subject.cell(size), note=texts("tile.size_note")))
    tiles.append(_last_tile(subject))
    return tuple(tiles)


def _last_tile(subject: Subject) -> Tile:
    """Money a year where there are prices and a load; else how long the search took."""
    texts, costs, model = subject.texts, subject.study.costs, subject.verdict.model
    assert model is not None
    yearly = running(model, backbone_ms(subject.models), costs).money_a_year
    requests = of_file(subject.study, "costs.requests_day", "given")
    if yearly is not None and requests is not None:
        note = texts("tile.load", requests=requests)
        return Tile(label=texts("tile.year"), value=(yearly,), note=note)
    time = search_seconds(subject.models.trials)
    return Tile(label=texts("tile.search"), value=(time,), note=texts("tile.search_note"))


def question(subject: Subject) -> Section:
    """Return the question, the data and how the search went about it."""
    texts = subject.texts
    names = [subject.metric(name) for name in subject.models.names]
    asked = texts(
        "question.text",
        backbone=_named(subject, "backbone"),
        objectives=texts.join(names, "list.and"),
    )
    rows = [(texts(f"question.{key}"), value) for key, value in _settings(subject).items() if value]
    table = Table(head=(texts("question.head"), ()), rows=tuple(rows), last_is_text=True)
    return Section(
        name="question",
        title=texts("question.title"),
        blocks=(
            Paragraph(text=asked),
            table,
            Paragraph(text=texts("question.protocol"), tone="note"),
        ),
    )


def _settings(subject: Subject) -> Mapping[str, Rich]:
    texts, study = subject.texts, subject.study
    ways = [
        texts(f"question.{way}", metric=subject.metric(name, unit=True))
        for objective in study.objectives
        for way, name in objective.items()
    ]
    bounds: list[Rich] = [
        (Fact(value=bound.describe(), source="file:constraints"),) for bound in study.bounds
    ]
    comma = "list.comma"
    budget = texts(
        "question.budget_text",
        trials=of_file(study, "budget.trials") or "",
        epochs=of_file(study, "budget.epochs") or "",
    )
    return {
        "task": (texts.word(f"task.{study.task}"),),
        "data": _data(subject),
        "rows": _rows(subject),
        "classes": _classes(subject),
        "objectives": texts.join(ways, comma),
        "bounds": texts.join(bounds, comma),
        "budget": budget,
        "trials": _trials(subject),
        "sampler": (study.sampler,),
        "pruner": (study.pruner,),
    }


def _data(subject: Subject) -> Rich:
    key = "data.source" if subject.study.data.source else "data.train"
    return (_named(subject, key),)


def _named(subject: Subject, key: str) -> Fact:
    fact = of_file(subject.study, key, "text")
    assert fact is not None
    return fact


def _rows(subject: Subject) -> Rich:
    """How many rows there are, as far as the storage tells."""
    texts = subject.texts
    known = subject.stored.user_attrs.get(FACTS, {}).get("params", {})
    parts = [
        texts(
            f"question.{name}",
            n=Fact(value=known[name], source=f"study:params.{name}", form="count"),
        )
        for name in ("n_train", "n_validation")
        if name in known
    ]
    confirm = subject.stored.user_attrs.get("confirm", {})
    if "n_test" in confirm:
        fact = Fact(value=confirm["n_test"], source="confirm:n_test", form="count")
        parts.append(texts("question.n_test", n=fact))
    labels = subject.stored.user_attrs.get("labels", [])
    if labels:
        fact = Fact(value=len(labels), source="study:labels", form="count")
        parts.append(texts("question.n_labels", n=fact))
    if CONTRACT in subject.stored.user_attrs and subject.study.task != "image-classification":
        length = _length(subject)
        parts.append(texts("question.max_length", n=length))
    return texts.join(parts)


def _classes(subject: Subject) -> Rich:
    """Return how many training rows each label has, () where labels are many or not single."""
    datasets = subject.stored.user_attrs.get(FACTS, {}).get("datasets", [])
    classes = datasets[0]["classes"] if datasets else {}
    if len(classes) > _MAX_CLASSES:
        return ()
    parts = [
        subject.texts(
            "question.class",
            label=Fact(value=label, source=f"study:class_name.{index}"),
            n=Fact(value=n_rows, source=f"study:class_rows.{index}", form="count"),
        )
        for index, (label, n_rows) in enumerate(classes.items())
    ]
    return subject.texts.join(parts, "list.semicolon")


def _length(subject: Subject) -> Fact:
    fact = of_file(subject.study, "data.max_length")
    assert fact is not None
    return fact


def _trials(subject: Subject) -> Rich:
    numbers = counts(subject.stored)
    parts = [
        subject.texts(
            f"ends.{name}",
            n=Fact(value=numbers[name], source=f"study:counts.{name}", form="count"),
        )
        for name in _COUNTS
        if numbers[name]
    ]
    return subject.texts.join(parts) if parts else subject.texts("ends.none")
