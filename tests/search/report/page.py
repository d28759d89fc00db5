"""A report's page read as a reader's browser would: every text, and where it says it is from."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr"}
NO_NUMBER = re.compile(r"F1(?!\d)")
"""Names that hold a digit and no number."""


@dataclass
class Text:
    """A text of the page, with the attributes of the nearest element that names a source."""

    text: str
    source: str | None
    value: str | None


@dataclass
class Mark:
    """An element that names a source: its tag and all attributes."""

    tag: str
    attributes: dict[str, str]


@dataclass
class Page(HTMLParser):
    """All texts and marks of a page; what is verbatim, style or a title is passed by."""

    texts: list[Text] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self._open = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "data-source" in attributes:
            self.marks.append(Mark(tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes))

    def handle_endtag(self, tag):
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data):
        if any(tag in ("style", "title", "code", "pre") for tag, _ in self._open):
            return
        sourced = [a for _, a in self._open if "data-source" in a]
        nearest = sourced[-1] if sourced else {}
        if data.strip():
            self.texts.append(Text(data, nearest.get("data-source"), nearest.get("data-value")))


def read(html):
    """Return the page, all of its elements closed."""
    page = Page()
    page.feed(html)
    page.close()
    assert not page._open
    return page


def numbers_in(text):
    """Return the numbers of a text, in words that hold digits and no number left out."""
    return re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", NO_NUMBER.sub("", text))
