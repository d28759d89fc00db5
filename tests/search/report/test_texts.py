"""The table of texts: whole in every language, without numbers, and all of it used."""

import re
from pathlib import Path
from string import Formatter

import pytest

import search.report
from search.objectives import METRICS
from search.report.facts import Fact
from search.report.shown import shown
from search.report.texts import LANGUAGES, Code, Texts, sentence, table
from search.study_sections import Costs
from space.kinds import KINDS
from space.roles import ROLES
from space.spec import POOLINGS
from tests.search.report.page import NO_NUMBER
from trainers.tasks import TASKS

FOLDER = Path(search.report.__file__).parent
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def names(text):
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("key", table())
def test_a_text_is_there_in_every_language_with_the_same_names(key):
    texts = table()[key]
    assert set(texts) == set(LANGUAGES)
    assert all(text.strip() for text in texts.values())
    assert len({tuple(sorted(set(names(text)))) for text in texts.values()}) == 1


@pytest.mark.parametrize("key", table())
def test_no_text_holds_a_number_of_its_own(key):
    for text in table()[key].values():
        assert not re.search(r"\d", NO_NUMBER.sub("", text)), text


@pytest.mark.parametrize("key", table())
def test_long_japanese_texts_are_japanese(key):
    text = table()[key]["ja"]
    words = re.sub(r"`[^`]*`|\{\w+\}", "", text)
    assert JAPANESE.search(words) or len(words) < 12
    assert not re.search(r"[(),;:] ", words), "Japanese has punctuation of its own"


def test_every_text_is_used():
    """Keys stand in the code as they are, or by their beginning where the rest is a name."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
    begun = set(re.findall(r'f"([a-z_.]+)\{', code))
    for key in table():
        whole = f'"{key}"' in code or f"'{key}'" in code
        assert whole or any(key.startswith(begin) for begin in begun), key


def test_all_that_has_a_name_elsewhere_has_one_here():
    wanted = {
        *(f"metric.{name}" for name in METRICS),
        *(f"role.{name}" for name in ROLES),
        *(f"value.{name}" for name in (*KINDS, *POOLINGS)),
        *(f"task.{name}" for name in TASKS),
        *(f"prices.{name}" for name in Costs.model_fields if name != "currency"),
    }
    assert wanted - table().keys() - {"value.none"} == set()


class TestTexts:
    def test_facts_and_texts_are_filled_in(self):
        number = Fact(value=3, source="trial:3:number", form="count")
        found = Texts("en")("headline.found", model=Texts("en")("model.trial", n=number))
        assert found == ("Recommended: ", "trial ", number, ", found by the search.")

    def test_what_stands_between_backticks_is_code(self):
        text = Texts("en")("confirmed.no_test", command=Code("paradapt confirm study.yaml"))
        assert text[1] == Code("data.test")
        assert text[-1] == Code("paradapt confirm study.yaml")

    @pytest.mark.parametrize(
        ("text", "begins"),
        [("head only", "Head only"), ("kWh a year", "kWh a year"), ("試行", "試行"), ("", "")],
    )
    def test_a_sentence_begins_with_a_capital_letter(self, text, begins):
        assert sentence((text,)) == (begins,)


@pytest.mark.parametrize(
    ("value", "form", "unit", "en", "ja"),
    [
        (0.9155, "share", "", "91.5%", "91.5%"),
        (-0.0216, "points", "", "-2.2 pt", "-2.2ポイント"),
        (0.0, "points", "", "+0.0 pt", "+0.0ポイント"),
        (0.013, "signed", "", "+0.0130", "+0.0130"),
        (1234567, "count", "", "1,234,567", "1,234,567"),
        (0.39155, "number", "", "0.392", "0.392"),
        (1234.5, "number", "", "1,234", "1,234"),
        (99.96, "number", "", "100.0", "100.0"),
        (0.0000005, "number", "", "5e-07", "5e-07"),
        (0.0004, "amount", "", "< 0.001", "< 0.001"),
        (0.0, "amount", "", "0", "0"),
        (71.0, "duration", "", "71.0 s", "71.0秒"),
        (150.0, "duration", "", "2.50 min", "2.50分"),
        (9000.0, "duration", "", "2.50 h", "2.50時間"),
        (0.5, "hours", "", "30.0 min", "30.0分"),
        (0.004, "money", "EUR", "< EUR 0.01", "< EUR 0.01"),
        (3.456, "money", "€", "€3.46", "€3.46"),
        (12345.6, "money", "JPY", "JPY 12,346", "JPY 12,346"),
        (0.25, "given", "EUR", "EUR 0.25", "EUR 0.25"),
        (200000.0, "given", "", "200,000", "200,000"),
        (0.0004, "p", "", "< 0.001", "< 0.001"),
        (0.0361, "p", "", "0.036", "0.036"),
        (float("nan"), "number", "", "\u2013", "\u2013"),
    ],
)
def test_numbers_are_shown_as_people_write_them(value, form, unit, en, ja):
    fact = Fact(value=value, source="constant:any", form=form, unit=unit)
    assert shown(fact, Texts("en")) == en
    assert shown(fact, Texts("ja")) == ja
