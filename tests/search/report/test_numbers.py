"""Every number on the page is what its source says, recomputed without the report's code."""

import re

import pytest

from search.report.report import report_html, report_markdown
from search.report.texts import LANGUAGES
from tests.search.report.page import numbers_in, read
from tests.search.report.reported_study import stored_study, study_in
from tests.search.report.sources import Sources
from tests.search.report.tracing import trace

pytestmark = pytest.mark.filterwarnings("ignore:.*PedAnova")


@pytest.fixture(scope="module", params=[False, True], ids=["searched", "confirmed"])
def reported(request, tmp_path_factory):
    """A study, and its page and Markdown in every language."""
    folder = tmp_path_factory.mktemp("reported")
    stored = stored_study(folder, confirmed=request.param)
    study = study_in(folder)
    file = folder / "study.yaml"
    storage = f"sqlite:///{folder / 'paradapt.db'}"
    sources = Sources("quickstart", storage, file, study.to_yaml())
    pages = {la: report_html(stored, study, la, str(file)) for la in LANGUAGES}
    notes = {la: report_markdown(stored, study, la, str(file)) for la in LANGUAGES}
    return sources, pages, notes


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_and_name_is_what_its_source_says(reported, language):
    sources, pages, _ = reported
    seen = trace(pages[language], sources)
    assert {"trial", "study", "file", "cost", "importance", "constant", "knob", "model"} <= seen
    if "confirm" in sources.attrs:
        assert {"confirm", "confirmed", "compare", "curse", "ratio"} <= seen


def test_a_number_that_was_changed_on_the_way_is_found(reported):
    sources, pages, _ = reported
    html = pages["en"]
    told = re.search(r'data-source="trial:\d+:values.0" data-value="([\d.]+)">([\d.]+%)<', html)
    wrong = told[0].replace(told[2], "12.3%")
    with pytest.raises(AssertionError):
        trace(html.replace(told[0], wrong), sources)
    with pytest.raises(AssertionError, match="without a source"):
        trace(html.replace("<h1>", "<h1>7 "), sources)


@pytest.mark.parametrize("language", LANGUAGES)
def test_markdown_says_the_same_numbers(reported, language):
    _, pages, notes = reported
    on_page = {n for text in read(pages[language]).texts for n in numbers_in(text.text)}
    fenced = re.sub(r"```.*?```", "", notes[language], flags=re.DOTALL)
    prose = re.sub(r"`[^`]*`", "", fenced.replace("\\", ""))
    in_text = set(numbers_in(prose))
    assert in_text <= on_page | level_numbers(reported[0])
    assert len(in_text) > 60


def level_numbers(sources):
    """Medians stand as lines in the figures of the page, and as numbers in Markdown."""
    found = set()
    for index, name in enumerate(sources.names):
        for trial in sources._complete():
            for knob, value in trial.params.items():
                median = sources._median(name, knob, str(value))
                found |= {f"{100 * median:.1f}", f"{median:.3f}", str(value)}
        assert index < 2
    return found


class TestFigures:
    def test_points_lie_where_the_axes_say(self, reported):
        sources, pages, _ = reported
        page = read(pages["en"])
        ticks = [m.attributes for m in page.marks if m.attributes["data-source"] == "axis"]
        marks = [m.attributes for m in page.marks]
        points = [mark for mark in marks if "data-y" in mark and "d" in mark]
        assert points
        left = [t for t in ticks if t["text-anchor"] == "end"]
        left = [t for t in left if t["x"] == left[0]["x"]][:4]
        for point in points:
            kind, key = point["data-source"].split(":", 1)
            value = float(point["data-y"])
            if kind == "trial":
                assert value == sources.trials[int(key)].values[0]
                assert float(point["data-x"]) == sources.trials[int(key)].values[1]
            else:
                assert value == pytest.approx(sources._confirmed(key, "mean", "accuracy"))
            y = float(re.search(r" ([\d.]+)\)", point["transform"])[1])
            assert y == pytest.approx(line(left, "y", value) - 4, abs=0.3)

    def test_intervals_are_those_of_the_table(self, reported):
        sources, pages, _ = reported
        found = [m.attributes for m in read(pages["en"]).marks if "data-low" in m.attributes]
        assert bool(found) == ("confirm" in sources.attrs)
        for point in found:
            key = point["data-source"].removeprefix("confirmed:")
            for what in ("low", "high"):
                expected = sources._confirmed(key, what, "accuracy")
                assert float(point[f"data-{what}"]) == pytest.approx(expected)


def line(ticks, axis, value):
    """The pixel of a value on the straight line through two ticks."""
    ends = (ticks[0], ticks[-1])
    at = [float(tick[axis]) for tick in ends]
    of = [float(tick["data-value"]) for tick in ends]
    return at[0] + (value - of[0]) * (at[1] - at[0]) / (of[1] - of[0])
