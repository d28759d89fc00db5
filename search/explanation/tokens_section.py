"""Which tokens carry an answer."""

from collections.abc import Sequence

from markupsafe import Markup

from search.explanation.html import joined, note, number, paragraph, section, tag
from search.explanation.rows import picture
from trainers.explain import Explanation
from trainers.explain.attribution import N_STEPS, Attribution

_SMALL = 1e-3  # a remainder that nobody needs to know


def tokens_section(found: Explanation) -> Markup:
    """Return a few examples with their tokens coloured."""
    title = "Which tokens carry an answer"
    if not found.attributions:
        return section("tokens", title, paragraph("No row has an answer that could be explained."))
    parts, start = "patches", "a grey image (0 behind the scaling)"
    if "image" not in found.config.what.inputs:
        nothing = found.attributions[0].nothing
        parts = "tokens"
        start = f"the same row with `{nothing}` in the place of all but its special tokens"
    unit = (
        "the number, in the units of the data"
        if found.config.what.labels == "number"
        else "the log-odds of the answer (nats; 0: as likely as all others together)"
    )
    told = note(
        f"Integrated gradients along the path from {start} to the row, {N_STEPS} points."
        f" {parts.capitalize()} in orange speak for the answer, those in blue against it. Explained"
        f" is {unit}. The {parts} add up to its change on the path, but for a remainder, which is"
        " told; routers of experts and tokens jump on the path and make it greater."
    )
    return section("tokens", title, told, *(_example(found, a) for a in found.attributions))


def _example(found: Explanation, own: Attribution) -> Markup:
    row = found.answered.rows[own.row]
    head = [tag("b", own.why), f" · row {found.rows.numbers[own.row]}"]
    if found.config.what.labels in ("class", "classes", "number"):
        head += [" · true ", tag("b", row.truth), ", answered ", tag("b", row.answer)]
    if row.confidence is not None and found.config.what.labels == "class":
        head.append(f" ({row.confidence:.0%} sure)")
    change = own.value - own.baseline
    share = f" ({abs(own.delta / change):.1%} of the change)" if change else ""
    told = (
        f"{own.about}: {number(own.baseline)} at the baseline, {number(own.value)} at the row;"
        f" remainder {number(own.delta) + share if abs(own.delta) >= _SMALL else 'below 0.001'}"
    )
    shown = _mosaic(found, own) if own.grid else _coloured(own)
    return tag("div", tag("p", *head), shown, tag("p", told, class_="muted"), class_="example")


def _coloured(own: Attribution) -> Markup:
    top = max((abs(piece.score) for piece in own.pieces), default=0.0) or 1.0
    spans = []
    for place, piece in enumerate(own.pieces):
        kinds = ["more" if piece.score > 0 else "less"]
        kinds += ["b"] if piece.begins else []
        kinds += ["special"] if piece.special else []
        kinds += ["place"] if place == own.place else []
        spans.append(
            tag(
                "span",
                piece.text,
                class_=" ".join(kinds),
                style=f"--v:{abs(piece.score) / top:.3f}",
                title=f"{piece.score:+.3f}",
            )
        )
    return tag("div", *spans, class_="tokens")


def _mosaic(found: Explanation, own: Attribution) -> Markup:
    top = max(abs(v) for row in own.grid for v in row) or 1.0
    cells = [
        tag(
            "span",
            "",
            class_="more" if value > 0 else "less",
            style=f"--v:{abs(value) / top:.3f}",
            title=f"{value:+.3f}",
        )
        for line in own.grid
        for value in line
    ]
    columns = f"grid-template-columns:repeat({len(own.grid[0])},1fr)"
    name = found.rows.names[own.row] if found.rows.names else ""
    pair: Sequence[Markup] = [
        picture(own.picture, 168),
        tag("div", *cells, class_="mosaic", style=columns),
    ]
    return joined([tag("div", *pair, class_="grid"), tag("p", name, class_="muted")])
