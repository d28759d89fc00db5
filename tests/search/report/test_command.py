"""`paradapt report`, as it is typed; and `costs:`, which it reads."""

import re

import pytest

from search.store import contract_of
from search.study_file import load_study_file
from space.errors import UserError
from tests.end_to_end.tiny_study import listing, messages, paradapt
from tests.search.report.reported_study import stored_study, write_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    stored_study(folder, confirmed=True)
    write_file(folder)
    return folder


class TestCommand:
    def test_it_writes_the_page_and_nothing_else(self, folder):
        before = set(listing(folder))
        done = paradapt("report", "study.yaml", "--output", "report.html", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "The report of 'quickstart' is in report.html.\n"
        assert done.stderr == ""
        assert set(listing(folder)) - before == {"report.html"}
        text = (folder / "report.html").read_text(encoding="utf-8")
        assert "paradapt search study.yaml" in text and 'lang="en"' in text

    def test_markdown_in_japanese(self, folder):
        words = ("--output", "report.md", "--format", "markdown", "--language", "ja")
        done = paradapt("report", "study.yaml", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        text = (folder / "report.md").read_text(encoding="utf-8")
        assert re.match(r"# quickstart\Wアダプター探索の結果報告\n", text)

    def test_prices_may_change_at_any_time(self, folder):
        words = ("--output", "priced.html", "--set", "costs.machine_hour=40")
        done = paradapt("report", "study.yaml", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "EUR 40" in (folder / "priced.html").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--output", "no/such/report.html"), "no/such/report.html: cannot be written"),
            (("--output", "r.html", "--set", "name=other"), "holds no study 'other' yet"),
            (("--output", "r.html", "--set", "seed=3"), "seed: the study 'quickstart' was begun"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, folder, words, message):
        done = paradapt("report", "study.yaml", *words, cwd=folder)
        assert done.returncode == 2
        (line,) = messages(done.stderr)
        assert message in line

    def test_an_unknown_language_is_refused_with_those_that_are_known(self, folder):
        words = ("--output", "r.html", "--language", "fr")
        done = paradapt("report", "study.yaml", *words, cwd=folder)
        assert done.returncode == 2
        assert "'en', 'ja'" in done.stderr


class TestCosts:
    @pytest.mark.parametrize(
        ("costs", "message"),
        [
            ({"machine_hour": 1.0}, "costs.machine_hour: a price needs `costs.currency`"),
            (
                {"currency": "EUR", "electricity_kwh": 0.3},
                "costs.electricity_kwh: needs `costs.watts`",
            ),
            ({"carbon_g_kwh": 300}, "costs.carbon_g_kwh: needs `costs.watts`"),
            ({"watts": -5}, "costs.watts: must be greater than 0"),
            ({"requests_day": "many"}, "costs.requests_day: must be a number"),
            ({"watt": 5}, "costs.watt: unknown key. Did you mean `watts`?"),
            ({"currency": ""}, "costs.currency: must not be empty"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, costs, message):
        with pytest.raises(UserError) as caught:
            load_study_file(write_file(tmp_path, costs=costs))
        (problem,) = caught.value.problems
        assert message in problem

    def test_all_problems_come_at_once(self, tmp_path):
        costs = {"machine_hour": 1.0, "carbon_g_kwh": 3.0, "wats": 1}
        with pytest.raises(UserError) as caught:
            load_study_file(write_file(tmp_path, costs=costs))
        assert len(caught.value.problems) == 3

    def test_they_are_no_part_of_what_a_study_is_bound_to(self, context_of):
        cheap = context_of("costs.currency=EUR", "costs.machine_hour=1")
        dear = context_of("costs.currency=USD", "costs.machine_hour=9", "costs.watts=10")
        assert contract_of(cheap) == contract_of(dear)
