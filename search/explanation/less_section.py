"""What does not run: rows that leave early, and tokens that pass blocks by."""

from collections.abc import Sequence

from markupsafe import Markup

from search.explanation.experts_section import MAX_CLASSES, chip
from search.explanation.html import (
    cut,
    heat_map,
    joined,
    note,
    number,
    paragraph,
    percent,
    section,
    table,
    tag,
)
from search.explanation.rows import text_of, what_is_read
from trainers.early_exit import NEVER
from trainers.explain import Explanation
from trainers.explain.kept import TokensKept

_N_ROWS = 5


def exits_section(found: Explanation) -> Markup:
    """Return which rows leave early."""
    title = "Which rows leave early"
    spec, threshold = found.config.spec, found.config.exit_threshold
    if not spec.exits or threshold is None:
        return section(
            "exits", title, paragraph("There are no early exits: every row runs to the end.")
        )
    rows = found.answered.rows
    depths = [*spec.exits, spec.depth]
    told = (
        "The threshold is so high that no row leaves early: it would have cost more quality than"
        " the study allowed."
        if threshold >= NEVER
        else f"A row leaves at the first exit whose head is {threshold:.1%} sure."
    )
    saved = 1 - found.scored.gflops / found.scored.most_gflops
    told += (
        f" On these rows the mean cost is {number(found.scored.gflops)} GFLOPs,"
        f" {percent(saved)} less than if all ran to the end ({number(found.scored.most_gflops)})."
    )
    parts = [note(told), _by_depth(found, depths)]
    if found.class_counts and found.classes:
        parts += [tag("h3", "Classes by where their rows leave"), _by_class(found, depths)]
    first = [i for i, row in enumerate(rows) if row.depth == depths[0]]
    last = [i for i, row in enumerate(rows) if row.depth == depths[-1]]
    parts += [
        tag("h3", "Rows that leave first, the surest first"),
        _some(found, first, surest=True),
    ]
    parts += [
        tag("h3", "Rows that run to the end, the least sure first"),
        _some(found, last, surest=False),
    ]
    return section("exits", title, *parts)


def _by_depth(found: Explanation, depths: Sequence[int]) -> Markup:
    rows = []
    for depth in depths:
        own = [i for i, row in enumerate(found.answered.rows) if row.depth == depth]
        judged = [found.answered.rows[i] for i in own if found.answered.rows[i].wrong is not None]
        right = sum(not row.wrong for row in judged) / len(judged) if judged else float("nan")
        tokens = sum(found.lengths[i] for i in own) / len(own) if own else float("nan")
        rows.append(
            (
                f"behind block {depth}" + (" (the end)" if depth == depths[-1] else ""),
                f"{len(own):,}",
                percent(len(own) / len(found.answered.rows)),
                f"{right:.1%}" if judged else "-",
                number(tokens),
            )
        )
    head = ["rows leave", "rows", "share", "of them right", "mean tokens"]
    return table(head, rows, ["keep", "n", "n", "n", "n"])


def _by_class(found: Explanation, depths: Sequence[int]) -> Markup:
    columns = [f"behind {depth}" for depth in depths]
    totals = [sum(column) for column in zip(*found.class_counts, strict=True)]
    shares = [
        (name, [counts[i] / totals[i] for counts in found.class_counts])
        for i, name in enumerate(found.classes)
        if totals[i]
    ]
    shares.sort(key=lambda row: -row[1][0])
    told = ""
    if len(shares) > MAX_CLASSES:
        half = MAX_CLASSES // 2
        told = (
            f"The {half} classes that leave first most often, and the {half} that do least often."
        )
        shares = [*shares[:half], *shares[-half:]]
    return joined([note(told) if told else "", heat_map("", columns, shares, high=1.0)])


def _some(found: Explanation, rows: Sequence[int], *, surest: bool) -> Markup:
    if not rows:
        return paragraph("None.")
    sign = -1 if surest else 1
    order = sorted(rows, key=lambda i: sign * (found.answered.rows[i].confidence or 0.0))[:_N_ROWS]
    told = [
        (
            str(found.rows.numbers[i]),
            text_of(found, i),
            cut(found.answered.rows[i].truth, 80),
            cut(found.answered.rows[i].answer, 80),
            percent(found.answered.rows[i].confidence or 0.0),
        )
        for i in order
    ]
    head = ["row", what_is_read(found), "true", "answer", "sure"]
    return table(head, told, ["n", "text", "", "", "n"], wide=True)


def kept_section(found: Explanation) -> Markup:
    """Return which tokens run through blocks that others pass by."""
    title = "Which tokens run"
    if not found.kept:
        return section(
            "kept", title, paragraph("There is no token_keep: all tokens run through every block.")
        )
    told = note(
        "A router picks the share of each row's tokens that run through the frozen block, rounded"
        " up, so that short rows keep a little more; all of them pass the small adapter beside it."
    )
    return section("kept", title, told, *(_block(found, own) for own in found.kept))


def _block(found: Explanation, own: TokensKept) -> Markup:
    share = own.n_kept / max(own.n_tokens, 1)
    kinds = [
        (kind, [value])
        for kind, value in zip(found.kinds, own.by_kind, strict=True)
        if value == value
    ]
    parts = [
        tag("h3", f"Layer {own.layer}"),
        paragraph(
            f"token_keep {own.token_keep:.0%}: {own.n_kept:,} of {own.n_tokens:,} tokens run"
            f" ({share:.1%})."
        ),
        heat_map("", ["runs"], [("all", [share]), *kinds], high=1.0),
        tag("p", tag("b", "run most often "), *map(chip, own.most)),
        tag("p", tag("b", "pass by most often "), *map(chip, own.least)),
    ]
    keeps = sorted(
        (i for i in range(len(own.rows)) if own.rows[i]),
        key=lambda i: (-sum(own.rows[i]) / len(own.rows[i]), -len(own.rows[i])),
    )
    if keeps:
        parts += [
            tag("h4", "rows that keep the most of their tokens"),
            _most(found, own, keeps[:_N_ROWS]),
        ]
    if found.texts:
        parts.append(
            tag("h4", "some rows: marked tokens run through the block, grey ones pass it by")
        )
        parts += [_marked(found, own, row) for row in found.texts]
    return joined(parts)


def _most(found: Explanation, own: TokensKept, rows: Sequence[int]) -> Markup:
    told = [
        (
            str(found.rows.numbers[i]),
            text_of(found, i),
            f"{sum(own.rows[i])} of {len(own.rows[i])}",
            percent(sum(own.rows[i]) / len(own.rows[i])),
        )
        for i in rows
    ]
    head = ["row", what_is_read(found), "tokens that run", "share"]
    return table(head, told, ["n", "text", "n", "n"], wide=True)


def _marked(found: Explanation, own: TokensKept, row: int) -> Markup:
    pieces = zip(found.texts[row], own.rows[row], strict=True)
    return tag(
        "div",
        *(
            tag("span", text, class_=f"{'runs' if runs else 'passes'}{' b' if begins else ''}")
            for (text, begins), runs in pieces
        ),
        class_="tokens",
    )
