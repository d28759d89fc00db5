"""Cost of ownership: what training and running every model takes, apart and side by side."""

from collections.abc import Sequence
from dataclasses import replace

from search.confirmed import setting_of
from search.report.document import Block, Listing, Paragraph, Section, Table
from search.report.facts import Fact, constant, of_file
from search.report.models import Model
from search.report.money import DAYS_A_YEAR, HOURS_A_DAY
from search.report.naming import title
from search.report.ownership import (
    Making,
    Running,
    backbone_ms,
    confirm_seconds,
    making,
    running,
    search_seconds,
)
from search.report.subject import Subject
from search.report.texts import Rich

Column = tuple[Rich, list[Fact | None]]
"""A column of a table: what it is, and a fact for each row, None where nothing is known."""
_BYTES_A_WEIGHT, _BYTES_A_MIB = 4, 2**20
_EXAMPLE = """costs:
  currency: EUR
  machine_hour: 0.50      # price of one hour of the machine
  watts: 120              # power that it draws while it works
  electricity_kwh: 0.30   # only where electricity is paid beside the machine
  carbon_g_kwh: 350       # only where CO2 equivalents are wanted
  requests_day: 100000    # rows to be answered in a day
"""


def ownership(subject: Subject) -> Section:
    """Return all tables of costs, and the formulas behind them."""
    texts = subject.texts
    if not subject.models.front:
        blocks: tuple[Block, ...] = (subject.missing("front.missing", "search"),)
        return Section(name="costs", title=texts("costs.title"), blocks=blocks)
    blocks = (
        Paragraph(text=texts("costs.intro")),
        _training(subject),
        _serving(subject),
        Paragraph(text=(*texts("costs.serving_note"), *_backbone(subject)), tone="note"),
        *_load(subject),
        *_prices(subject),
    )
    return Section(name="costs", title=texts("costs.title"), blocks=blocks)


def _training(subject: Subject) -> Table:
    """The whole search and the confirmation, then one training of each model."""
    texts, costs = subject.texts, subject.study.costs
    lines: list[tuple[Rich, Making, Model | None]] = []
    whole = making("search", search_seconds(subject.models.trials), costs)
    lines.append((texts("costs.search"), whole, None))
    if (seconds := confirm_seconds(subject.models)) is not None:
        lines.append((texts("costs.confirm"), making("confirm", seconds, costs), None))
    for model in subject.models.shown:
        name = texts("costs.one_training", model=title(model, texts))
        one = making(model.key, model.measured("train_s"), costs)
        lines.append((name, one, model))
    kept: list[Column] = [(texts("costs.time"), [line.time for _, line, _ in lines])]
    for metric in ("peak_memory_mib", "training_gflops"):
        measured = [None if model is None else model.measured(metric) for *_, model in lines]
        kept.append((subject.metric(metric, unit=True), measured))
    kept += [
        (texts("costs.energy"), [line.energy_kwh for _, line, _ in lines]),
        (texts("costs.money"), [line.money for _, line, _ in lines]),
        (texts("costs.carbon"), [line.carbon_kg for _, line, _ in lines]),
    ]
    rows = [(None if model is None else model.key, name) for name, _, model in lines]
    return _table(subject, texts("costs.training_head"), rows, kept)


def _serving(subject: Subject) -> Table:
    """What one request takes."""
    texts, models = subject.texts, subject.models.shown
    backbone = backbone_ms(subject.models)
    columns: list[Column] = [
        (subject.metric(name, unit=True), [model.measured(name) for model in models])
        for name in ("trainable_params", "adapter_mib", "inference_gflops")
    ]
    requests = [running(model, backbone, subject.study.costs) for model in models]
    columns += [
        (texts("costs.request_ms"), [each.request_ms for each in requests]),
        (subject.metric("latency_ratio"), [model.measured("latency_ratio") for model in models]),
        (subject.metric("throughput", unit=True), [m.measured("throughput") for m in models]),
    ]
    rows = [(model.key, title(model, texts)) for model in models]
    return _table(subject, texts("costs.serving_head"), rows, columns)


def _backbone(subject: Subject) -> Rich:
    """Say how large the frozen backbone is, where the confirmation noted it."""
    n_params = (setting_of(subject.stored) or {}).get("backbone_params")
    if n_params is None:
        return ()
    size = n_params * _BYTES_A_WEIGHT / _BYTES_A_MIB
    fact = Fact(value=size, source="confirm:backbone_mib", form="number")
    return subject.texts("costs.backbone", size=fact)


def _load(subject: Subject) -> list[Block]:
    """What a day's and a year's requests take, where the user says how many they are."""
    texts, models = subject.texts, subject.models.shown
    requests = of_file(subject.study, "costs.requests_day", "given")
    if requests is None:
        return []
    backbone = backbone_ms(subject.models)
    found: list[Running] = [running(model, backbone, subject.study.costs) for model in models]
    columns: list[Column] = [
        (texts("costs.busy"), [each.busy_hours_a_day for each in found]),
        (texts("costs.machines"), [each.machines for each in found]),
        (texts("costs.money_day"), [each.money_a_day for each in found]),
        (texts("costs.money_year"), [each.money_a_year for each in found]),
        (texts("costs.always_on"), [each.always_on_a_year for each in found]),
        (texts("costs.energy_year"), [each.energy_kwh_a_year for each in found]),
        (texts("costs.carbon_year"), [each.carbon_kg_a_year for each in found]),
    ]
    head = texts("costs.load_head", requests=requests)
    rows = [(model.key, title(model, texts)) for model in models]
    return [_table(subject, head, rows, columns)]


def _table(
    subject: Subject,
    head: Rich,
    rows: Sequence[tuple[str | None, Rich]],
    columns: Sequence[Column],
) -> Table:
    """Return a table of rows (model's key, name); a column of nothing known is left out."""
    kept = [(label, facts) for label, facts in columns if any(fact is not None for fact in facts)]
    chosen = subject.verdict.model
    cells = [
        (name, *(subject.cell(facts[index]) for _, facts in kept))
        for index, (_, name) in enumerate(rows)
    ]
    marked = (i for i, (key, _) in enumerate(rows) if chosen is not None and key == chosen.key)
    return Table(
        head=(head, *(label for label, _ in kept)), rows=tuple(cells), marked=frozenset(marked)
    )


def _prices(subject: Subject) -> list[Block]:
    """Return the prices and formulas that were used; where there are none, how to give them."""
    texts, study = subject.texts, subject.study
    hours = constant("hours_a_day", HOURS_A_DAY)
    days = constant("days_a_year", DAYS_A_YEAR)
    backbone = backbone_ms(subject.models)
    lines: list[Block] = []
    given = [
        texts(f"prices.{name}", value=fact)
        for name in ("machine_hour", "watts", "electricity_kwh", "carbon_g_kwh", "requests_day")
        if (fact := _price(subject, name)) is not None
    ]
    if given:
        text = texts("prices.given", prices=texts.join(given))
        lines.append(Paragraph(text=text, tone="note"))
    if backbone is not None:
        text = texts("prices.request", backbone=backbone)
        lines.append(Paragraph(text=text, tone="note"))
    if given:
        lines.append(Paragraph(text=texts("prices.formulas", hours=hours, days=days), tone="note"))
    unknown = study.costs.machine_hour is None or study.costs.requests_day is None
    if unknown:
        lines.append(subject.missing("prices.missing", "report --output report.html"))
        lines.append(Listing(text=_EXAMPLE))
    return lines


def _price(subject: Subject, name: str) -> Fact | None:
    fact = of_file(subject.study, f"costs.{name}", "given")
    if fact is None or name not in ("machine_hour", "electricity_kwh"):
        return fact
    return replace(fact, unit=subject.study.costs.currency or "")
