"""The page in Chromium: in light and dark, everything is there, nothing is cut or overlaps."""

import pytest

from search.explanation import explanation_html
from tests.search.chromium import browser, needs_chromium, show_in
from tests.search.explanation.explained import explain_case

__all__ = ["browser"]
pytestmark = needs_chromium

CUT = """
    return [...document.querySelectorAll('td, th, p, li, h1, h2, h3, h4, .fact, .chip')].filter(e =>
        e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== 'visible'
    ).map(e => e.textContent);
"""
SCROLLED = """
    return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1
    ).map(e => e.textContent.slice(0, 80));
"""
OUTSIDE = """
    const out = [];
    for (const text of document.querySelectorAll('svg text')) {
        const a = text.getBoundingClientRect(), b = text.closest('svg').getBoundingClientRect();
        if (a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1
            || a.bottom > b.bottom + 1) out.push(text.textContent);
    }
    return out;
"""
OVERLAPPING = """
    const out = [];
    for (const svg of document.querySelectorAll('svg')) {
        const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent,
            t.getBoundingClientRect()]);
        boxes.forEach(([s, a], i) => boxes.slice(i + 1).forEach(([t, b]) => {
            if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
                out.push(s + ' / ' + t); }));
    }
    return out;
"""
CONTRAST = """
    const of = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
        return (0.299 * r + 0.587 * g + 0.114 * b) / 255; };
    const body = getComputedStyle(document.body);
    return Math.abs(of(body.color) - of(body.backgroundColor));
"""


@pytest.fixture(scope="module", params=["every-kind", "numbers", "images"])
def opened(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    found = explain_case(folder, request.param)
    page = folder / "page.html"
    page.write_text(explanation_html(found, "rows.csv"), encoding="utf-8")
    return request.param, found, page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_there_and_can_be_read(browser, opened, scheme):
    name, found, page = opened
    show_in(browser, scheme)
    browser.get(page.as_uri())

    def count(selector):
        return len(browser.find_elements("css selector", selector))

    assert count("section") == 10
    assert count("#contributions table.heat td:not(.none)") == len(found.contributions)
    n_maps = 2 * len(found.routing) - (len(found.routing) if not found.classes else 0)
    assert count("#experts table.heat") == n_maps
    assert count("#tokens .example") == len(found.attributions)
    assert count("#calibration .bin") == (
        0 if name == "numbers" else count("#calibration tbody tr")
    )
    assert count("#scores circle") == (len(found.rows) if name == "numbers" else 0)
    assert count("#tokens .mosaic") == (len(found.attributions) if name == "images" else 0)
    n_pieces = sum(len(own.pieces) for own in found.attributions)
    assert count("#tokens .tokens span") == n_pieces
    assert browser.execute_script(CUT) == []
    assert browser.execute_script(SCROLLED) == []
    assert browser.execute_script(OUTSIDE) == []
    assert browser.execute_script(OVERLAPPING) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 1366
    assert browser.execute_script(CONTRAST) > 0.6
    is_dark = browser.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert is_dark == (scheme == "dark")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
