"""A report as one HTML page: no network, no script, dark and light, fit to print."""

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from search.report.document import Document
from search.report.facts import Fact
from search.report.shown import shown
from search.report.texts import Code, Language, Piece, Rich, Texts, sentence


def as_html(document: Document, language: Language) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("search.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = Texts(language)
    environment.filters["rich"] = _rich(texts)
    environment.filters["sentence"] = sentence
    environment.filters["plain"] = lambda text: plain(text, texts)
    environment.tests["kind"] = lambda block, name: type(block).__name__ == name
    return environment.get_template("report.html.j2").render(document=document, texts=texts)


def plain(text: Rich, texts: Texts) -> str:
    """Return a text without its marks."""
    return "".join(shown(piece, texts) for piece in text)


def _rich(texts: Texts) -> Callable[[Rich], Markup]:
    def render(text: Rich) -> Markup:
        return Markup("").join(_piece(piece, texts) for piece in text)

    return render


def _piece(piece: Piece, texts: Texts) -> Markup:
    if isinstance(piece, Code):
        return Markup("<code>{}</code>").format(piece.text)
    if not isinstance(piece, Fact):
        return escape(piece)
    value = repr(piece.value) if not isinstance(piece.value, str) else None
    exact = Markup("") if value is None else Markup(' data-value="{}"').format(value)
    return Markup('<span data-source="{}"{}>{}</span>').format(
        piece.source, exact, shown(piece, texts)
    )
