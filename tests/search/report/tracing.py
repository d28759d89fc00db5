"""A page traced: every number on it, and every name with digits, is what its source says."""

import re

import pytest

from tests.search.report.page import numbers_in, read

UNITS = {
    "%": 0.01,
    "pt": 0.01,
    "ポイント": 0.01,
    "s": 1,
    "秒": 1,
    "min": 60,
    "分": 60,
    "h": 3600,
    "時間": 3600,
}
PRINTED = re.compile(r"(<)?\s*(?:EUR )?([+-]?[\d,]*\.?\d+(?:e-\d+)?)\s*(\D*)")


def trace(html, sources):
    """Check a page against the storage; return the kinds of the sources that it names."""
    page = read(html)
    loose = [text.text for text in page.texts if text.source is None and numbers_in(text.text)]
    assert loose == [], "numbers without a source"
    seen = set()
    for text in page.texts:
        if text.source in (None, "axis"):
            continue
        seen.add(text.source.partition(":")[0])
        if text.value is None:
            check_name(text, sources)
        else:
            check_number(text, sources.value(text.source))
    return seen


def check_number(text, value):
    """The number is that of its source, and is shown rounded to the digits that it has."""
    assert float(text.value) == pytest.approx(value, rel=1e-9), text
    seconds = 3600 if text.source.endswith("busy_hours_a_day") else 1
    assert printed_as(text.text, seconds * value), text


def printed_as(text, value):
    """Whether a text shows a value, rounded to the digits that it has."""
    match = PRINTED.fullmatch(text.strip())
    assert match, text
    less, digits, unit = match.groups()
    scale = UNITS.get(unit.strip(), 1)
    number = float(digits.replace(",", "")) * scale
    if less:
        return 0 <= value < number
    places = len(digits.partition(".")[2])
    return abs(number - value) <= 0.5000001 * 10**-places * scale


def check_name(text, sources):
    """What somebody chose stands as it was chosen; numbers in our words are those of the thing."""
    kind, _, rest = text.source.partition(":")
    if kind == "model":
        assert set(numbers_in(text.text)) <= {rest.removeprefix("trial-")}
    elif kind == "knob":
        assert any(rest in trial.params for trial in sources.trials)
    elif kind == "level":
        knob, value = rest.split(":")
        assert any(str(t.params.get(knob)) == value for t in sources.trials)
        assert not numbers_in(text.text) or text.text == value
    elif rest.endswith(":spec"):
        check_structure(text.text, sources.value(text.source))
    else:
        assert text.text == str(sources.value(text.source))


def check_structure(text, spec):
    """Every number of a structure in words stands in the structure."""
    known = {spec["depth"]}
    for entry in spec["adapters"]:
        known |= {entry.get("rank"), *entry["layers"]}
    assert {int(number) for number in numbers_in(text)} <= known
    assert str(spec["depth"]) in text
