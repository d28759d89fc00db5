"""The end of a report: the recommendation with its reason, the limits, and how to repeat it all."""

from search.confirmed import setting_of
from search.report.document import Block, Bullets, Listing, Paragraph, Section, Table
from search.report.facts import Fact, of_file
from search.report.findings import finding_sentence, headline, reason
from search.report.subject import Subject
from search.report.texts import Code, Rich
from search.store import CONTRACT, STUDY_FILE, redacted

_USUAL_SEEDS = 3


def recommendation(subject: Subject) -> Section:
    """Return what to do next, by which rule, and what speaks against it."""
    texts, verdict = subject.texts, subject.verdict
    blocks: list[Block] = [
        Paragraph(text=headline(subject), tone="lead"),
        Paragraph(text=reason(subject)),
    ]
    if verdict.model is None:
        blocks.append(subject.missing("front.missing", "search"))
        return Section(name="advice", title=texts("advice.title"), blocks=tuple(blocks))
    if verdict.is_confirmed and verdict.findings:
        findings = [finding_sentence(finding, subject) for finding in verdict.findings]
        blocks.append(Bullets(items=tuple(findings)))
    blocks += _next(subject)
    return Section(name="advice", title=texts("advice.title"), blocks=tuple(blocks))


def _next(subject: Subject) -> list[Block]:
    texts, model = subject.texts, subject.verdict.model
    assert model is not None
    if not subject.verdict.is_confirmed:
        return [subject.missing("advice.confirm", "confirm --seeds 3")]
    if model.trial is None:
        return [Paragraph(text=texts("advice.reference"))]
    select = f"export --select trial:{model.trial.number} --output {_folder(subject)}"
    return [Paragraph(text=texts("advice.export", command=subject.command(select)))]


def _folder(subject: Subject) -> str:
    return f"{subject.study.name.replace(' ', '-')}-chosen"


def limits(subject: Subject) -> Section:
    """Return what the numbers do not say."""
    texts, study = subject.texts, subject.study
    seed = of_file(study, "seed")
    setting = setting_of(subject.stored)
    items: list[Rich] = []
    if setting is None:
        items.append(texts("limits.unconfirmed"))
    else:
        seeds = Fact(value=len(setting["seeds"]), source="confirm:n_seeds", form="count")
        rows = Fact(value=setting["n_test"], source="confirm:n_test", form="count")
        items.append(texts("limits.confirmed", seeds=seeds, rows=rows))
    items += [
        texts("limits.search", seed=seed or ""),
        texts("limits.data"),
        texts("limits.machine"),
        texts("limits.flops"),
    ]
    if study.costs.machine_hour is not None or study.costs.watts is not None:
        items.append(texts("limits.money"))
    return Section(
        name="limits", title=texts("limits.title"), blocks=(Bullets(items=tuple(items)),)
    )


def repeat(subject: Subject) -> Section:
    """Return commands, versions, fingerprints and the study file."""
    texts = subject.texts
    setting = setting_of(subject.stored)
    n_seeds = _USUAL_SEEDS if setting is None else len(setting["seeds"])
    commands = ["search", f"confirm --seeds {n_seeds}", "report --output report.html"]
    model = subject.verdict.model
    if model is not None and model.trial is not None:
        commands.insert(
            2, f"export --select trial:{model.trial.number} --output {_folder(subject)}"
        )
    blocks: tuple[Block, ...] = (
        Paragraph(text=texts("repeat.intro", file=(Fact(value=subject.file, source="file:path"),))),
        Listing(text="\n".join(subject.command(words).text for words in commands)),
        _provenance(subject),
        Paragraph(text=texts("repeat.file"), tone="lead"),
        Listing(text=_study_file(subject)),
    )
    return Section(name="repeat", title=texts("repeat.title"), blocks=blocks)


def _study_file(subject: Subject) -> str:
    stored = subject.stored.user_attrs.get(STUDY_FILE)
    return str(stored) if stored else redacted(subject.study).to_yaml()


def _provenance(subject: Subject) -> Table:
    """What of the machine, the libraries and the data must be alike for alike results."""
    texts, attrs = subject.texts, subject.stored.user_attrs
    contract = attrs.get(CONTRACT, {})
    rows: list[tuple[Rich, Rich]] = [
        (texts(f"repeat.{key}"), (Fact(value=str(contract[key]), source=f"study:contract.{key}"),))
        for key in ("backbone", "data", "seed")
        if key in contract
    ]
    setting = setting_of(subject.stored)
    if setting is not None:
        seeds = ", ".join(map(str, setting["seeds"]))
        rows.append((texts("repeat.confirm_seeds"), (Fact(value=seeds, source="confirm:seeds"),)))
    for name, value in attrs.get("environment", {}).items():
        fact = Fact(value=str(value), source=f"study:environment.{name}")
        if value is not None:
            rows.append(((Code(name),), (fact,)))
    return Table(head=(texts("repeat.head"), ()), rows=tuple(rows), last_is_text=True)
