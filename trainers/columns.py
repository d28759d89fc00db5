"""What the columns of a user's file are called."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of the user's file are called."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    image: str = "image"
    label_separator: str | None = None
    """What parts the labels of a row, where it may have several."""
