"""How a row is shown."""

from base64 import b64encode

from markupsafe import Markup

from search.explanation.html import cut, joined, tag
from trainers.explain import Explanation
from trainers.explain.pictures import png_of


def text_of(found: Explanation, row: int) -> Markup:
    """Return what a row reads: its text, both of its texts, its words, or its image."""
    inputs = found.rows.split.inputs
    if "image" in inputs:
        name = found.rows.names[row] if found.rows.names else ""
        return joined([picture(png_of(inputs["image"][row]), 56), " ", cut(name, 80)])
    if "words" in inputs:
        return _words(found, row)
    texts = [cut(str(inputs[name][row])) for name in found.config.what.inputs]
    return (
        joined(tag("div", text) for text in texts)
        if len(texts) > 1
        else Markup("{}").format(texts[0])
    )


def what_is_read(found: Explanation) -> str:
    """Return the heading of a column of rows."""
    inputs = found.config.what.inputs
    return {"image": "image", "words": "words"}.get(
        inputs[0], "texts" if len(inputs) > 1 else "text"
    )


def _words(found: Explanation, row: int) -> Markup:
    """Return the words, those that are tagged wrongly marked."""
    words = found.rows.split.inputs["words"][row]
    marks = found.answered.rows[row].marks
    if len(marks) != len(words):  # some were not read
        return Markup("{}").format(cut(" ".join(words)))
    return joined(
        tag("span", word, " ", class_="bad" if wrong else None)
        for word, wrong in list(zip(words, marks, strict=True))[:60]
    )


def picture(png: bytes, width: int) -> Markup:
    """Return an image that stands in the page itself."""
    source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
    return tag("img", src=source, width=width, class_="picture", alt="")
