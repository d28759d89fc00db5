"""How a fact is written for people: rounded to what they can use, with its unit."""

import math

from search.report.facts import Fact
from search.report.texts import Piece, Texts

_MINUTE_S, _HOUR_S = 60.0, 3600.0
_LEAST_MONEY, _LEAST_AMOUNT = 0.01, 0.001
"""What is less than these is told to be so: more digits would help nobody."""


def shown(piece: Piece, texts: Texts) -> str:
    """Return a piece of a text as plain text."""
    if isinstance(piece, str):
        return piece
    if not isinstance(piece, Fact):
        return piece.text
    value = piece.value
    if isinstance(value, str) or piece.form == "text":
        return str(value)
    if not math.isfinite(value):
        return texts.word("cell.none")
    if piece.form == "duration":
        return _duration(value, texts)
    if piece.form == "hours":
        return _duration(value * _HOUR_S, texts)
    if piece.form == "money":
        return _money(value, piece.unit)
    if piece.form == "given":
        return _in_currency(f"{value:,.10g}", piece.unit)
    if piece.form == "p":
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    return _number(piece.form, value, texts)


def _number(form: str, value: float, texts: Texts) -> str:
    if form == "count":
        return f"{value:,.0f}"
    if form == "amount" and 0 < value < _LEAST_AMOUNT:
        return f"< {_LEAST_AMOUNT:g}"
    if form == "share":
        return f"{value:.1%}"
    if form == "points":
        return f"{100 * value:+.1f}{texts.word('unit.points')}"
    if form == "signed":
        return f"{_digits(value):>+}" if value == 0 else f"{'+' * (value > 0)}{_digits(value)}"
    return _digits(value)


def _digits(value: float) -> str:
    """Three significant digits, whole numbers in full, without an exponent where one can."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100 or value == 0:
        return f"{value:.0f}"
    if size < 1e-6:
        return f"{value:.2g}"
    places = 2 - math.floor(math.log10(size))
    return f"{value:.{places}f}"


def _duration(seconds: float, texts: Texts) -> str:
    if seconds < 2 * _MINUTE_S:
        return f"{_digits(seconds)}{texts.word('unit.s')}"
    if seconds < 2 * _HOUR_S:
        return f"{_digits(seconds / _MINUTE_S)}{texts.word('unit.min')}"
    return f"{_digits(seconds / _HOUR_S)}{texts.word('unit.h')}"


def _money(value: float, currency: str) -> str:
    if 0 < value < _LEAST_MONEY:
        return f"< {_in_currency(f'{_LEAST_MONEY:g}', currency)}"
    return _in_currency(f"{value:,.0f}" if value >= 100 else f"{value:.2f}", currency)


def _in_currency(amount: str, currency: str) -> str:
    space = " " if currency[-1:].isalnum() else ""
    return f"{currency}{space}{amount}"
