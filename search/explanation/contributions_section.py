"""What each adapter adds."""

from collections.abc import Sequence
from math import nan

from markupsafe import Markup

from search.explanation.html import bar, heat_map, note, paragraph, section, table
from search.explanation.words import no_adapters
from space.roles import ROLES
from space.side import SIDE
from trainers.explain import Explanation
from trainers.explain.contributions import BLOCK, BYPASS, Contribution


def contributions_section(found: Explanation) -> Markup:
    """Return a map of layers and roles, and a list."""
    title = "How much each adapter adds"
    if not found.contributions:
        return section("contributions", title, paragraph(no_adapters(found)))
    told = note(
        "The length of what an adapter adds to a token's vector, as a share of the length of what"
        " it is added to; the mean over all tokens that reach it. ia3: the change of what it"
        " scales; prefix: the change of the attention's output; side: what is added to the last"
        " hidden states. A small addition may still matter: see what is lost without it."
    )
    roles = [r for r in (*ROLES, BLOCK, SIDE) if any(c.role == r for c in found.contributions)]
    layers = sorted({c.layer for c in found.contributions})
    by_place = {(c.layer, c.role): c for c in found.contributions}
    rows = [
        (
            "end" if layer == found.config.spec.depth else f"layer {layer}",
            [by_place[layer, role].mean if (layer, role) in by_place else nan for role in roles],
        )
        for layer in reversed(layers)
    ]
    names = {BLOCK: "beside the block"}
    columns = [names.get(role, role.replace("_", " ")) for role in roles]
    shown = heat_map("", columns, rows, shown=lambda v: f"{v:.1%}")
    return section("contributions", title, told, shown, _listed(found.contributions))


def _listed(contributions: Sequence[Contribution]) -> Markup:
    greatest = max(c.mean for c in contributions) or 1.0
    rows = [
        (in_words(c), f"{c.mean:.2%}", bar(c.mean / greatest), f"{c.n_tokens:,}")
        for c in sorted(contributions, key=lambda c: -c.mean)
    ]
    return table(["adapter", "adds", "", "tokens"], rows, ["keep", "n", "", "n"])


def in_words(own: Contribution) -> str:
    """Return what a contribution is of."""
    if own.kind == BYPASS:
        return f"adapter beside layer {own.layer} (token_keep)"
    return "side network" if own.kind == SIDE else f"{own.kind} {own.role} in layer {own.layer}"
