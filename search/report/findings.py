"""What the verdict says, in sentences."""

from search.objectives import SHARES
from search.report.document import Paragraph
from search.report.facts import Fact, constant
from search.report.naming import structure, title
from search.report.subject import Subject
from search.report.texts import Rich
from search.report.verdict import TOLERANCE_PCT, Finding
from search.statistics import LEVEL

_PERCENT = 100
LEVEL_PCT = constant("level_pct", round(_PERCENT * (1 - LEVEL)))
"""Of every interval in the report."""


def headline(subject: Subject) -> Rich:
    """Return what to do, in one sentence or two."""
    texts, verdict = subject.texts, subject.verdict
    if verdict.model is None:
        return texts("headline.nothing")
    name = title(verdict.model, texts)
    if not verdict.is_confirmed:
        return texts("headline.unconfirmed", model=name)
    key = "headline.found" if verdict.model.found else "headline.baseline"
    return texts(key, model=name)


def reason(subject: Subject) -> Rich:
    """Return why, and by which rule."""
    texts, verdict = subject.texts, subject.verdict
    if verdict.model is None:
        return texts("reason.nothing")
    name = title(verdict.model, texts)
    if not verdict.is_confirmed:
        return texts("reason.unconfirmed", model=name)
    assert verdict.best is not None
    n_models = Fact(value=len(subject.models.confirmed), source="study:n_confirmed", form="count")
    tolerance = constant("tolerance_pct", TOLERANCE_PCT)
    share = subject.models.metric in SHARES
    rule = texts(
        "reason.rule_points" if share else "reason.rule_percent",
        n=n_models,
        tolerance=tolerance,
        metric=subject.metric(subject.models.metric),
        cost=subject.metric(verdict.cost),
    )
    if verdict.best.key == verdict.model.key:
        return (*rule, *texts("reason.is_best", model=name))
    mean, best = (
        subject.cell(model.tested("mean", subject.models.metric))
        for model in (verdict.model, verdict.best)
    )
    other = title(verdict.best, texts)
    return (*rule, *texts("reason.is_near", model=name, mean=mean, other=other, best=best))


def described(subject: Subject) -> list[Paragraph]:
    """Return what the model in question is made of; [] where it is no trial."""
    texts, model = subject.texts, subject.verdict.model
    if model is None or not (words := structure(model, texts)):
        return []
    text = texts("advice.structure", model=title(model, texts), structure=words)
    return [Paragraph(text=text)]


def outcome(subject: Subject) -> list[Rich]:
    """Return what the found model is better than, what not, and at what cost; [] if unknown."""
    texts, verdict = subject.texts, subject.verdict
    if not verdict.is_confirmed or not verdict.findings:
        return []
    name = title(verdict.findings[0].model, texts)
    metric = subject.metric(subject.models.metric)
    found = []
    for kind in ("better", "noise", "worse"):
        others = [title(f.other, texts) for f in verdict.findings if f.kind == kind]
        if others:
            key = f"outcome.{kind}"
            found.append(texts(key, model=name, metric=metric, others=texts.join(others)))
    shares = [
        texts("outcome.share", other=title(f.other, texts), share=f.cost_share)
        for f in verdict.findings
        if f.cost_share is not None
    ]
    if shares:
        cost = subject.metric(verdict.cost)
        found.append(texts("outcome.cost", cost=cost, model=name, shares=texts.join(shares)))
    return found


def finding_sentence(finding: Finding, subject: Subject) -> Rich:
    """Return one comparison as a sentence: the difference, its interval, what it costs."""
    texts = subject.texts
    metric = subject.models.metric if subject.verdict.is_confirmed else subject.models.names[0]
    sentence = texts(
        f"finding.{finding.kind}",
        model=title(finding.model, texts),
        other=title(finding.other, texts),
        metric=subject.metric(metric),
        difference=finding.difference,
        level=LEVEL_PCT,
        low=finding.low or "",
        high=finding.high or "",
    )
    if finding.cost_share is None:
        return sentence
    cost = texts(
        "finding.cost", cost=subject.metric(subject.verdict.cost), share=finding.cost_share
    )
    return (*sentence, *cost)
