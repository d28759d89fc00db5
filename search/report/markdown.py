"""A report as Markdown, for wikis, tickets and mail: what the page says, without its figures."""

import re

from search.report.document import (
    Block,
    Bullets,
    Document,
    Figure,
    Listing,
    Paragraph,
    Table,
    Tiles,
)
from search.report.shown import shown
from search.report.texts import Code, Language, Piece, Rich, Texts, sentence


def as_markdown(document: Document, language: Language) -> str:
    """Return the document as Markdown with tables as GitHub has them."""
    texts = Texts(language)
    parts = [f"# {_inline(document.title, texts)}", _inline(document.subtitle, texts)]
    for section in document.sections:
        parts.append(f"{'#' * section.level} {_inline(section.title, texts)}")
        parts += [block for each in section.blocks if (block := _block(each, texts))]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, texts: Texts) -> str:
    match block:
        case Paragraph():
            text = _inline(sentence(block.text), texts)
            marks = {"strong": "**{}**", "lead": "**{}**", "missing": "> {}"}
            return marks.get(block.tone, "{}").format(text)
        case Bullets():
            return "\n".join(f"- {_inline(sentence(item), texts)}" for item in block.items)
        case Tiles():
            return "\n".join(
                f"- {_inline(sentence(tile.label), texts)}: **{_inline(tile.value, texts)}**"
                + (f" ({_inline(tile.note, texts)})" if tile.note else "")
                for tile in block.tiles
            )
        case Table():
            return _table(block, texts)
        case Figure():
            if block.table is None or not block.table.rows:
                return ""
            return f"{_inline(block.caption, texts)}\n\n{_table(block.table, texts)}"
        case Listing():
            fence = "`" * max(3, 1 + _longest_run(block.text))
            return f"{fence}\n{block.text.rstrip()}\n{fence}"


def _table(table: Table, texts: Texts) -> str:
    n_columns = len(table.head)
    right = [
        i >= table.n_text and not (table.last_is_text and i == n_columns - 1)
        for i in range(n_columns)
    ]
    head = [sentence(cell) for cell in table.head]
    body = [(sentence(row[0]), *row[1:]) for row in table.rows]
    rows = [[_inline(cell, texts) for cell in row] for row in (head, *body)]
    for index in table.marked:
        rows[index + 1][0] = f"**{rows[index + 1][0]}**"
    rules = ["---:" if is_right else "---" for is_right in right]
    lines = ["| " + " | ".join(row) + " |" for row in (rows[0], rules, *rows[1:])]
    caption = f"\n\n{_inline(table.caption, texts)}" if table.caption else ""
    return "\n".join(lines) + caption


def _inline(text: Rich, texts: Texts) -> str:
    return "".join(_piece(piece, texts) for piece in text)


def _piece(piece: Piece, texts: Texts) -> str:
    if isinstance(piece, Code):
        fence = "`" * (1 + _longest_run(piece.text))
        return f"{fence}{piece.text}{fence}"
    # What a user named may hold characters that mean something here.
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", shown(piece, texts))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
