"""The whole page: one file without scripts, which needs no network."""

from markupsafe import Markup

from search.explanation.ablation_section import ablation_section, most_needed
from search.explanation.answers_section import (
    calibration_of,
    calibration_section,
    in_words,
    scores_section,
    worst_section,
)
from search.explanation.contributions_section import contributions_section
from search.explanation.experts_section import experts_section
from search.explanation.html import items, joined, number, paragraph, percent, section, tag
from search.explanation.less_section import exits_section, kept_section
from search.explanation.style import STYLE
from search.explanation.tokens_section import tokens_section
from search.explanation.words import metric_title
from search.objectives import formatted
from trainers.explain import Explanation

_SECTIONS = (
    ("scores", "answers", scores_section),
    ("calibration", "calibration", calibration_section),
    ("worst", "worst errors", worst_section),
    ("ablation", "without each part", ablation_section),
    ("contributions", "what adapters add", contributions_section),
    ("experts", "experts", experts_section),
    ("exits", "early exits", exits_section),
    ("kept", "tokens that run", kept_section),
    ("tokens", "tokens that carry an answer", tokens_section),
)


def explanation_html(found: Explanation, source: str) -> str:
    """Return the page.

    Args:
        found: what explains the bundle.
        source: the file of the rows, as the user named it.
    """
    provenance = found.config.provenance
    name = f"{provenance.get('study', 'a bundle')}, trial {provenance.get('trial', '?')}"
    title = f"{name}: explanation"
    links = tag("nav", *(tag("a", text, href=f"#{anchor}") for anchor, text, _ in _SECTIONS))
    body = joined(
        [
            tag("h1", title),
            paragraph(found.config.spec.describe()),
            _facts(found),
            items(_in_brief(found)),
            links,
            *(make(found) for _, _, make in _SECTIONS),
            _made(found, source),
        ]
    )
    head = joined(
        [
            tag("meta", charset="utf-8"),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Markup(STYLE)),  # noqa: S704
        ]
    )
    return str(
        Markup("<!doctype html>\n") + tag("html", tag("head", head), tag("body", body), lang="en")
    )


def _facts(found: Explanation) -> Markup:
    rows = [("rows", f"{len(found.rows):,}")]
    rows += [
        (metric_title(name), formatted(name, value))
        for name, value in found.scored.metrics.items()
        if name in found.config.what.metrics
    ]
    rows.append(("GFLOPs per row", number(found.scored.gflops)))
    own = calibration_of(found)
    if own is not None:
        rows.append(("ECE", f"{own.ece:.3f}"))
    return tag(
        "div",
        *(tag("div", tag("b", value), tag("span", name), class_="fact") for name, value in rows),
        class_="facts",
    )


def _in_brief(found: Explanation) -> list[Markup | str]:
    sentences = list(most_needed(found))
    own = calibration_of(found)
    if own is not None:
        sentences.append(
            f"On average it is {own.confidence:.1%} sure and right in {own.accuracy:.1%}:"
            f" {in_words(own)}."
        )
    if found.routing:
        low = min(found.routing, key=lambda r: r.balance / r.n_experts)
        sentences.append(
            f"Experts: adapters that route: {len(found.routing)}; the least evenly loaded is"
            f" {low.kind} {low.role} in layer {low.layer}"
            f" ({low.balance:.1f} of {low.n_experts} experts in effect)."
        )
    if found.config.spec.exits:
        early = sum(row.depth < found.config.spec.depth for row in found.answered.rows)
        sentences.append(f"{percent(early / len(found.rows))} of the rows leave early.")
    return sentences


def _made(found: Explanation, source: str) -> Markup:
    rows, config = found.rows, found.config
    if len(rows) < rows.n_usable:
        taken = (
            f"{len(rows):,} of the {rows.n_usable:,} rows of {source}: a sample, stratified by"
            f" label where there are labels, drawn with the seed {rows.seed}."
        )
    else:
        taken = f"All {len(rows):,} rows of {source}."
    facts = [
        taken,
        f"Task {config.task}, backbone {config.backbone} (fingerprint"
        f" {config.backbone_fingerprint[:16]}), {_cut(found)}seed of the study"
        f" {config.provenance.get('seed', '?')}.",
        "If the study was trained or chosen on these rows, all scores here are too good.",
        f"It took {found.seconds:.0f} s.",
    ]
    return section("made", "How this was made", items([*facts, *found.notices]))


def _cut(found: Explanation) -> str:
    if "image" in found.config.what.inputs:
        return ""
    return f"texts cut at {found.config.max_length} tokens, "
