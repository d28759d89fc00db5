"""Studies that have little to tell: the page says what is missing, and the command that helps."""

import re

import pytest

from search.report.report import report_html, report_markdown
from search.report.texts import LANGUAGES, table
from tests.search.confirmed_study import put_confirmed
from tests.search.finished_study import finished_trials, trial_of
from tests.search.report.page import numbers_in, read
from tests.search.report.reported_study import (
    in_memory,
    measured_trials,
    stored_study,
    study_in,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*PedAnova")


def text_of(html):
    """All that a reader sees, commands included."""
    body = html[html.index("<body>") :]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", body))


def report(stored, study, language="en"):
    """The page's text; the page is well formed, and holds no number without a source."""
    html = report_html(stored, study, language, "study.yaml")
    loose = [t.text for t in read(html).texts if t.source is None and numbers_in(t.text)]
    assert loose == []
    return text_of(html)


def begins(key, language="en"):
    """How a text begins, up to its first fact or command."""
    return re.split(r"[{`]", table()[key][language])[0].strip()


EMPTY = {
    "no trial": [],
    "all pruned": [trial_of(None, end="pruned", reason="rank 3 of 3", number=n) for n in range(3)],
    "all failed": [trial_of(None, end="failed", reason="not finite", number=n) for n in range(2)],
    "all infeasible": [trial_of(None, end="infeasible", number=n) for n in range(2)],
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", EMPTY)
def test_without_a_complete_trial_every_part_says_so(tmp_path, name, language):
    stored = in_memory(EMPTY[name])
    text = report(stored, study_in(tmp_path), language)
    assert text.count(begins("front.missing", language)) >= 4
    assert "paradapt search study.yaml" in text
    assert begins("headline.nothing", language) in text
    assert "nan" not in text.lower().replace("finance", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_confirmed_results_nothing_is_recommended(tmp_path, language):
    stored = stored_study()
    study = study_in(tmp_path, data={"train": "rows.csv", "test": "test.csv"})
    text = report(stored, study, language)
    assert text.count(begins("confirmed.missing", language)) == 2
    assert "paradapt confirm study.yaml --seeds 3" in text
    assert begins("headline.found", language) not in text
    assert begins("limits.unconfirmed", language) in text


def test_a_study_without_test_rows_is_told_how_to_name_them(tmp_path):
    text = report(stored_study(), study_in(tmp_path))
    assert begins("confirmed.no_test") in text
    assert "data.test" in text


def test_a_confirmation_that_was_cut_off_says_what_is_missing(tmp_path):
    stored = stored_study()
    put_confirmed(stored, seeds=(0,))
    setting = stored.user_attrs["confirm"]
    stored.set_user_attr("confirm", setting | {"seeds": [0, 1, 2]})
    text = report(stored, study_in(tmp_path))
    assert "7 of 21 trainings are there" in text
    assert "paradapt confirm study.yaml --seeds 3" in text
    assert begins("confirmed.one_seed") in text


def test_confirmed_points_without_any_baseline_are_not_compared(tmp_path):
    stored = stored_study()
    put_confirmed(stored, {"trial-5": 0.8, "trial-7": 0.78})
    text = report(stored, study_in(tmp_path))
    assert begins("confirmed.no_comparison") in text
    assert begins("curse.alone") in text


def test_few_trials_tell_nothing_of_the_knobs(tmp_path):
    stored = in_memory(measured_trials(9))
    text = report(stored, study_in(tmp_path))
    assert begins("knobs.missing") in text
    assert "paradapt search study.yaml --trials 24" in text


def test_without_prices_times_are_told_and_how_to_give_prices(tmp_path):
    text = report(stored_study(), study_in(tmp_path, costs=None))
    assert begins("prices.missing") in text
    assert "machine_hour: 0.50" in text
    assert "EUR" not in text.replace("currency: EUR", "")


def test_power_and_load_without_a_price_give_energy_and_no_money(tmp_path):
    study = study_in(tmp_path, costs={"watts": 100, "requests_day": 1000})
    text = report(stored_study(), study)
    assert "KWh a year" not in text and "kWh a year" in text
    assert "Money a year" not in text


def test_a_study_of_before_facts_were_stored_leaves_them_out(tmp_path):
    stored = in_memory(finished_trials(12))
    text = report(stored, study_in(tmp_path))
    assert "for training" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_objective_is_a_list_of_trials(tmp_path, language):
    trials = finished_trials(14, n_objectives=1)
    stored = in_memory(trials, ("accuracy",), ("maximize",))
    # No study file asks for one objective; a storage may hold such a study all the same.
    one = study_in(tmp_path).model_copy(update={"objectives": ({"maximize": "accuracy"},)})
    text = report(stored, one, language)
    assert begins("front.one_objective", language) in text


def test_three_objectives_are_three_columns(tmp_path):
    names = ("accuracy", "inference_gflops", "trainable_params")
    directions = ("maximize", "minimize", "minimize")
    stored = in_memory(finished_trials(24, n_objectives=3), names, directions)
    objectives = [{"maximize": names[0]}, {"minimize": names[1]}, {"minimize": names[2]}]
    text = report(stored, study_in(tmp_path, objectives=objectives))
    assert "trained parameters: most depends on" in text.lower()


class TestEscaping:
    NAME = "a<b>&'x' | *y* `z`"

    def test_html_shows_what_a_user_wrote_as_text(self, tmp_path):
        study = study_in(tmp_path).model_copy(update={"backbone": self.NAME})
        html = report_html(stored_study(), study, "en", "a&b.yaml")
        assert "<b>" not in html
        assert "a&lt;b&gt;" in html
        assert "paradapt search a&amp;b.yaml" in html

    def test_markdown_shows_it_as_text_too(self, tmp_path):
        study = study_in(tmp_path).model_copy(update={"backbone": self.NAME})
        text = report_markdown(stored_study(), study, "en", "study.yaml")
        assert r"a\<b\>&'x' \| \*y\* \`z\`" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_needs_no_network_and_no_script(tmp_path, language):
    stored, study = stored_study(confirmed=True), study_in(tmp_path)
    html = report_html(stored, study, language, "study.yaml")
    assert not re.search(r"<script|<link|<img|@import|url\(|\bsrc=", html)
    places = {f"#{name}" for name in re.findall(r'id="(\w+)"', html)}
    assert set(re.findall(r'href="([^"]*)"', html)) <= places
    assert f'<html lang="{language}">' in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    assert len(html.encode()) < 300_000


@pytest.mark.parametrize("language", LANGUAGES)
def test_markdown_tables_have_as_many_cells_in_every_row(tmp_path, language):
    stored, study = stored_study(confirmed=True), study_in(tmp_path)
    text = report_markdown(stored, study, language, "study.yaml")
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) >= 8
    for each in tables:
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in each.splitlines()}
        assert len(bars) == 1, each
