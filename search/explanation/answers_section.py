"""How good the answers are: scores, confusions, calibration, residuals, the worst rows."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from search.explanation.charts import reliability, scatter
from search.explanation.html import (
    cut,
    heat_map,
    items,
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
from trainers.explain import Explanation
from trainers.explain.quality import (
    Calibration,
    Confusion,
    LabelScore,
    calibration,
    confusion,
    label_scores,
    residuals,
    several_label_scores,
    worst,
)

N_WORST = 20
MAX_LABELS = 24
"""Labels of a confusion matrix; of more, those with the most errors."""
_N_PAIRS = 12


def scores_section(found: Explanation) -> Markup:
    """Return confusions and the scores of each label, or residuals."""
    kind = found.config.what.labels
    if kind == "number":
        return section("scores", "Answers against true numbers", _numbers(found))
    if kind == "none":
        text = "There are no labels: a language model is scored by how well it guesses next tokens."
        return section("scores", "Confusions", paragraph(text))
    decisions = found.answered.decisions
    if decisions is None or len(decisions.truth) == 0:
        return section("scores", "Confusions", paragraph("Nothing of these rows was answered for."))
    labels = found.config.labels
    if kind == "classes":
        told = note(
            "A row may have several labels, so that no label stands in the place of another: there"
            " is no confusion matrix. Each label is scored by itself."
        )
        scores = several_label_scores(decisions, labels)
        return section("scores", "Scores of each label", told, _scores(scores, "rows"))
    what = "words" if kind == "tags" else "rows"
    matrix = confusion(decisions, labels)
    each = _scores(label_scores(decisions, labels), what)
    return section(
        "scores",
        "What is taken for what",
        _confusion(matrix, what),
        tag(
            "div",
            tag("div", _pairs(matrix)),
            tag("div", tag("h3", "Scores of each label"), each),
            class_="grid",
        ),
    )


def _confusion(found: Confusion, what: str) -> Markup:
    labels, counts = found.labels, found.counts
    errors = [
        sum(counts[i]) + sum(row[i] for row in counts) - 2 * counts[i][i]
        for i in range(len(labels))
    ]
    shown = list(range(len(labels)))
    told = (
        f"Each row of the matrix is a true label, each column what was answered; the numbers are"
        f" {what}, the shade is the share of the true label."
    )
    if len(labels) > MAX_LABELS:
        shown = sorted(sorted(shown, key=lambda i: -errors[i])[:MAX_LABELS])
        told += (
            f" Shown are the {MAX_LABELS} of {len(labels)} labels with the most errors; the last"
            " column holds what was answered beside them."
        )
    rows = []
    texts = {}
    for i in shown:
        total = sum(counts[i])
        own = [counts[i][j] for j in shown]
        if len(shown) < len(labels):
            own.append(total - sum(own))
        shares = [n / total if total else math.nan for n in own]
        rows.append((labels[i], shares))
        texts[labels[i]] = own
    columns = [labels[j] for j in shown] + (["others"] if len(shown) < len(labels) else [])
    return joined([note(told), _counted(columns, rows, texts)])


def _counted(
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float]]],
    texts: dict[str, list[int]],
) -> Markup:
    """Return a heat map of shares with the counts in its cells."""
    flat = iter([n for name, _ in rows for n in texts[name]])
    finite = [(name, [0.0 if math.isnan(v) else v for v in values]) for name, values in rows]
    return heat_map(
        "true \\ answered",
        columns,
        finite,
        high=1.0,
        shown=lambda _: str(count) if (count := next(flat)) else "",
        own=True,
    )


def _pairs(found: Confusion) -> Markup:
    pairs = [
        (n, found.labels[i], found.labels[j], sum(row))
        for i, row in enumerate(found.counts)
        for j, n in enumerate(row)
        if i != j and n
    ]
    if not pairs:
        return paragraph("No answer is wrong.")
    pairs.sort(key=lambda pair: -pair[0])
    rows = [
        (true, answered, str(n), percent(n / total))
        for n, true, answered, total in pairs[:_N_PAIRS]
    ]
    head = ["true", "answered", "how often", "of the true label"]
    return joined(
        [tag("h3", "The most frequent confusions"), table(head, rows, ["", "", "n", "n"])]
    )


def _scores(scores: Sequence[LabelScore], what: str) -> Markup:
    def shown(value: float) -> str:
        return f"{value:.1%}" if math.isfinite(value) else "-"

    order = sorted(scores, key=lambda s: (not s.n, s.f1 if math.isfinite(s.f1) else 0.0))
    rows = [(s.label, f"{s.n:,}", shown(s.precision), shown(s.recall), shown(s.f1)) for s in order]
    return table(["label", what, "precision", "recall", "F1"], rows, ["", "n", "n", "n", "n"])


def _numbers(found: Explanation) -> Markup:
    assert found.answered.numbers is not None
    own = residuals(*found.answered.numbers)
    facts = [
        f"root mean square error {number(own.rmse)}, mean absolute error {number(own.mae)}",
        f"answers are on average {number(abs(own.bias))} too {'high' if own.bias > 0 else 'low'}",
    ]
    return joined([items(facts), scatter(own.truth, own.answer)])


def calibration_of(found: Explanation) -> Calibration | None:
    """Return the calibration, where answers have a probability."""
    decisions = found.answered.decisions
    return calibration(decisions) if decisions is not None and len(decisions.truth) else None


def calibration_section(found: Explanation) -> Markup:
    """Return whether confidence tells how often an answer is right."""
    title = "Does it know how sure to be?"
    own = calibration_of(found)
    if own is None:
        why = (
            "A number comes without a probability, so that there is nothing to calibrate."
            if found.config.what.labels == "number"
            else "Answers have no probability here, so that there is nothing to calibrate."
        )
        return section("calibration", title, paragraph(why))
    what = {"tags": "a word's tag", "classes": "one label of a row"}.get(
        found.config.what.labels, "a row's label"
    )
    told = note(
        f"Decisions (each about {what}) fall into 15 bins of confidence. Where it is well"
        " calibrated, of the decisions that it is 80% sure of 80% are right. The bars are the"
        " shares that are right, the lines across them the mean confidence; the mean gap between"
        " them, weighed by the decisions in each bin, is the expected calibration error (ECE)."
    )
    facts = [
        f"ECE {own.ece:.3f}",
        f"mean confidence {own.confidence:.1%}, right {own.accuracy:.1%}: {in_words(own)}",
    ]
    shown = tag("div", reliability(own), _bins(own), class_="grid")
    return section("calibration", title, told, items(facts), shown)


def _bins(own: Calibration) -> Markup:
    rows = [
        (f"{b.low:.0%} to {b.high:.0%}", f"{b.n:,}", f"{b.confidence:.1%}", f"{b.accuracy:.1%}")
        for b in own.bins
    ]
    head = ["confidence", "decisions", "mean confidence", "right"]
    return table(head, rows, ["keep", "n", "n", "n"])


def in_words(own: Calibration) -> str:
    """Return whether confidence is too high or too low."""
    if abs(own.confidence - own.accuracy) < 0.02:
        return "about as sure as it may be"
    return "too sure" if own.confidence > own.accuracy else "less sure than it might be"


def worst_section(found: Explanation) -> Markup:
    """Return the rows that are answered the worst."""
    kind = found.config.what.labels
    title = {
        "number": "The greatest errors",
        "none": "The rows that it finds hardest",
    }.get(kind, "The worst errors")
    rows = worst(found.answered, N_WORST)
    if not rows:
        return section("worst", title, paragraph("No answer is wrong."))
    n_wrong = sum(row.wrong is not False for row in found.answered.rows)
    told = {
        "class": "The wrong answers that it was surest of.",
        "classes": "The rows with wrong labels, those with the greatest loss first.",
        "number": "The rows whose answers are the farthest off.",
        "tags": "The rows with the most words tagged wrongly, which are marked.",
        "none": "The rows with the greatest mean loss of a next token.",
    }[kind]
    if kind not in ("number", "none"):
        told += f" Shown are {len(rows)} of {n_wrong} rows with errors."
    if kind == "none":
        head, classes = ["row", what_is_read(found), "answer"], ["n", "text", "keep"]
    else:
        head, classes = ["row", what_is_read(found), "true", "answer"], ["n", "text", "", ""]
    sure = kind in ("class", "tags", "classes")
    body = []
    for i in rows:
        own = found.answered.rows[i]
        answers = (
            [cut(own.answer, 200)]
            if kind == "none"
            else [cut(own.truth, 200), cut(own.answer, 200)]
        )
        body.append(
            [
                str(found.rows.numbers[i]),
                text_of(found, i),
                *answers,
                *([percent(own.confidence or 0.0)] if sure else []),
            ]
        )
    if sure:
        head.append("sure" if kind == "class" else "least sure")
        classes.append("n")
    return section("worst", title, note(told), table(head, body, classes, wide=True))
