"""The page: every task has one, figures are those of the explanation, and user text is escaped."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from search.explanation import explanation_html
from search.explanation.ablation_section import worse_by
from search.explanation.html import cut, heat_map, number, tag
from tests.search.explanation.explained import CASES, explain_case

SECTIONS = (
    "scores",
    "calibration",
    "worst",
    "ablation",
    "contributions",
    "experts",
    "exits",
    "kept",
    "tokens",
    "made",
)
VOID = ("meta", "img", "br")


class Page(HTMLParser):
    """Checks that elements are closed in order; keeps the cells of each table, and all text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.sections, self.text = [], {}, [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attrs):
        if name in VOID:
            return
        self.open.append(name)
        if name == "section":
            self.sections.append(dict(attrs)["id"])
        elif name == "table":
            self.tables.setdefault(self.sections[-1], []).append([])
        elif name == "tr":
            self.tables[self.sections[-1]][-1].append([])
        elif name in ("td", "th"):
            self.tables[self.sections[-1]][-1][-1].append("")

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[self.sections[-1]][-1][-1][-1] += data


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    found = explain_case(tmp_path_factory.mktemp(request.param), request.param)
    return request.param, found, explanation_html(found, "rows.csv")


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return explain_case(tmp_path_factory.mktemp("rich"), "every-kind")


def test_it_is_whole_and_needs_nothing_else(case):
    _, _, text = case
    page = Page(text)
    assert page.sections == list(SECTIONS)
    assert not re.search(r"<script|<link|@import|url\(|https?://|src=\"(?!data:)", text)
    assert "nan" not in page.text.lower().split() and "None" not in page.text.split()


def test_what_a_structure_has_not_is_said(case):
    name, found, text = case
    text = Page(text).text
    spec = found.config.spec
    assert ("There are no experts" in text) == (not found.routing)
    assert ("There are no early exits" in text) == (not spec.exits)
    assert ("There is no token_keep" in text) == (not spec.skips)
    assert ("There are no adapters" in text) == spec.head_only
    assert ("there is no confusion matrix" in text) == (name == "several-labels")
    assert ("nothing to calibrate" in text) == (name in ("numbers", "language"))


def test_the_first_metric_stands_on_top(case):
    _, found, text = case
    metrics = found.scored.metrics
    assert f"<b>{len(found.rows)}</b><span>rows</span>" in text
    for name in ("accuracy", "micro_f1", "entity_f1"):
        if name in metrics:
            assert f"<b>{metrics[name]:.2%}</b>" in text


def test_ablations_are_sorted_and_told_as_they_are(rich):
    page = Page(explanation_html(rich, "rows.csv"))
    singles, groups = page.tables["ablation"]
    assert len(singles) + len(groups) == len(rich.ablations) + 4  # heads, and nothing off
    by_name = {a.part.name: a for a in rich.ablations}
    for table in (singles, groups):
        told = [by_name[row[0]] for row in table[2:]]
        losses = [worse_by(rich, own) for own in told]
        assert losses == sorted(losses, reverse=True)
        for row, own in zip(table[2:], told, strict=True):
            assert row[1] == f"{own.without.metrics['accuracy']:.2%}"
            assert row[7] == number(own.without.gflops)
            lost = sum(
                a and not b for a, b in zip(rich.scored.right, own.without.right, strict=True)
            )
            won = sum(
                b and not a for a, b in zip(rich.scored.right, own.without.right, strict=True)
            )
            assert row[4:6] == [str(lost), str(won)]


def test_contributions_and_routing_are_told_as_they_are(rich):
    page = Page(explanation_html(rich, "rows.csv"))
    heat, listed = page.tables["contributions"]
    shares = {f"{c.mean:.1%}" for c in rich.contributions}
    assert {cell for row in heat[1:] for cell in row[1:] if cell} == shares
    assert len(listed) == 1 + len(rich.contributions)
    summary, *maps = page.tables["experts"]
    assert [row[3] for row in summary[1:]] == [f"{r.entropy:.3f}" for r in rich.routing]
    for own, classes in zip(rich.routing, maps[::2], strict=True):
        assert [row[1:] for row in classes[1:]] == [
            [f"{share:.0%}" for share in row] for row in own.by_class
        ]


def test_the_confusion_matrix_is_told_as_it_is(rich):
    matrix = Page(explanation_html(rich, "rows.csv")).tables["scores"][0]
    rows = rich.answered.rows
    for label, *counts in matrix[1:]:
        for other, count in zip(matrix[0][1:], counts, strict=True):
            n = sum(row.truth == label and row.answer == other for row in rows)
            assert count == (str(n) if n else "")


def test_user_text_is_escaped(rich):
    bad = "<script>alert('x')</script>&amp;"
    split = replace(rich.rows.split, inputs={"text": (bad,) * len(rich.rows)})
    config = replace(rich.config, provenance={"study": bad, "trial": bad, "seed": bad})
    rows = tuple(replace(row, truth=bad, answer=bad) for row in rich.answered.rows)
    found = replace(
        rich,
        rows=replace(rich.rows, split=split, notices=(bad,)),
        config=config,
        answered=replace(rich.answered, rows=rows),
    )
    text = explanation_html(found, bad)
    assert "<script" not in text
    assert Page(text).text.count(bad) > 20


def test_a_sample_says_so(rich):
    found = replace(rich, rows=replace(rich.rows, n_usable=900, seed=7))
    text = Page(explanation_html(found, "rows.csv")).text
    assert "30 of the 900 rows of rows.csv: a sample" in text and "the seed 7" in text
    assert "All 30 rows of rows.csv" in Page(explanation_html(rich, "rows.csv")).text


def test_many_labels_are_cut_to_those_with_errors(rich):
    labels = tuple(f"a label with a long name {i}" for i in range(40))
    decisions = rich.answered.decisions
    truth = (decisions.truth + 7 * decisions.answer) % 40
    answered = replace(rich.answered, decisions=replace(decisions, truth=truth, answer=truth[::-1]))
    found = replace(rich, config=replace(rich.config, labels=labels), answered=answered)
    page = Page(explanation_html(found, "rows.csv"))
    matrix = page.tables["scores"][0]
    assert len(matrix) == 25 and matrix[0][-1] == "others"
    assert "24 of 40 labels with the most errors" in page.text


def test_pieces():
    assert tag("p", "<b>", class_="x", id=None) == '<p class="x">&lt;b&gt;</p>'
    assert tag("text", text_anchor="end") == '<text text-anchor="end"></text>'
    assert cut("a" * 400, 10) == "a" * 9 + "…"
    assert [number(v) for v in (0.17, 12345.0, 215.0, float("nan"))] == [
        "0.170",
        "1.23e+04",
        "215",
        "-",
    ]
    heat = heat_map("", ["a", "b"], [("x", [0.5, float("nan")])], high=1.0)
    assert "--v:0.500" in heat and 'class="none"' in heat
