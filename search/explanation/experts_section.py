"""Which expert serves what."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from search.explanation.html import heat_map, joined, note, paragraph, percent, section, table, tag
from trainers.explain import Explanation
from trainers.explain.routing import LikedToken, Routing, Table

MAX_CLASSES = 30
"""Rows of a heat map of classes; of more, those whose routing is the least usual."""


def experts_section(found: Explanation) -> Markup:
    """Return how each adapter of experts routed."""
    title = "Which expert serves what"
    if not found.routing:
        return section(
            "experts",
            title,
            paragraph("There are no experts: no adapter of this structure has more than one."),
        )
    told = note(
        "A router gives each token to its experts. Shown are shares of the choices: each row of a"
        " heat map adds up to 100%. Sure: 100% where the router gives all weight to one expert,"
        " 0% where it has no preference. Evenly loaded: how many experts, loaded alike, would be"
        " as evenly loaded. All rows run through all blocks here, also those that an early exit"
        " would answer for."
    )
    return section(
        "experts",
        title,
        told,
        _summary(found.routing),
        *(_adapter(found, r) for r in found.routing),
    )


def _summary(routing: Sequence[Routing]) -> Markup:
    rows = [
        (
            _named(own),
            own.router,
            f"{own.top_k} of {own.n_experts}",
            f"{own.entropy:.3f}",
            percent(own.certainty),
            f"{own.balance:.2f} of {own.n_experts}",
            f"{percent(min(own.load))} to {percent(max(own.load))}",
        )
        for own in routing
    ]
    head = ["adapter", "routes each", "experts", "entropy (nats)", "sure", "evenly loaded", "loads"]
    return table(head, rows, ["keep", "", "n", "n", "n", "n", "n"])


def _named(own: Routing) -> str:
    return f"{own.kind} {own.role} in layer {own.layer}"


def _adapter(found: Explanation, own: Routing) -> Markup:
    experts = [f"expert {i + 1}" for i in range(own.n_experts)]
    maps = [
        tag(
            "div",
            tag("h4", "kinds of tokens"),
            heat_map("", experts, [("all", own.load), *_known(found.kinds, own.by_kind)], high=1.0),
        )
    ]
    if found.classes:
        names, told = _classes(found, own)
        maps.insert(
            0, tag("div", tag("h4", f"classes{told}"), heat_map("", experts, names, high=1.0))
        )
    liked = joined(
        tag("p", tag("b", f"expert {i + 1} "), *_chips(tokens))
        for i, tokens in enumerate(own.liked)
    )
    return joined(
        [
            tag("h3", _named(own)),
            tag("div", *maps, class_="grid"),
            tag(
                "h4",
                "the tokens that each expert likes most (how often it serves them, of how many)",
            ),
            liked,
        ]
    )


def _known(names: Sequence[str], rows: Table) -> list[tuple[str, Sequence[float]]]:
    """Return the rows that have any tokens."""
    return [(n, row) for n, row in zip(names, rows, strict=True) if math.isfinite(row[0])]


def _classes(found: Explanation, own: Routing) -> tuple[list[tuple[str, Sequence[float]]], str]:
    known = _known(found.classes, own.by_class)
    if len(known) <= MAX_CLASSES:
        return known, ""
    unusual = sorted(
        known, key=lambda row: -sum(abs(a - b) for a, b in zip(row[1], own.load, strict=True))
    )
    kept = {name for name, _ in unusual[:MAX_CLASSES]}
    told = f": the {MAX_CLASSES} of {len(known)} whose routing is the least usual"
    return [row for row in known if row[0] in kept], told


def _chips(tokens: Sequence[LikedToken]) -> list[Markup]:
    if not tokens:
        return [tag("span", "none that occurs three times or more", class_="muted")]
    return [chip(token) for token in tokens]


def chip(token: LikedToken) -> Markup:
    """Return a token with its share and count."""
    return tag(
        "span", token.text, " ", tag("i", f"{token.share:.0%} of {token.count}"), class_="chip"
    )
