"""What tokens are called, and of what kind they are.

A token is known by its identity: of texts the number in the vocabulary, of images the place.

Shapes: `B` batch, `N` tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainers.backbone import Backbone
from trainers.data import Batch
from trainers.image_input import ImageInput

SPECIAL, WORD, PIECE, NUMBER, PUNCTUATION, PATCH = (
    "special token",
    "word or its beginning",
    "inside of a word",
    "number",
    "punctuation",
    "patch",
)
TEXT_KINDS = (SPECIAL, WORD, PIECE, NUMBER, PUNCTUATION)
IMAGE_KINDS = (SPECIAL, PATCH)


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token as people read it."""

    text: str
    kind: str
    """One of the kinds above."""
    begins: bool
    """Whether a blank stands before it."""


class Tokens(Protocol):
    """The tokens that a backbone reads."""

    @property
    def n_identities(self) -> int:
        """How many identities there are."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind that a token can be of."""

    def identities(self, batch: Batch) -> Tensor:
        """Return the identities (B, N) of a batch's tokens."""

    def token(self, identity: int) -> Token:
        """Return what is known of a token."""


def tokens_of(backbone: Backbone) -> Tokens:
    """Return the tokens of a backbone."""
    if backbone.image is not None:
        return ImageTokens(
            backbone.image, backbone.family.beside_patches, _patches_across(backbone)
        )
    assert backbone.tokenizer is not None
    return TextTokens(backbone.tokenizer, backbone.model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]


class TextTokens:
    """Tokens of a vocabulary.

    Args:
        tokenizer: the backbone's.
        n_embeddings: how many tokens the backbone knows.
    """

    kinds = TEXT_KINDS

    def __init__(self, tokenizer: PreTrainedTokenizerBase, n_embeddings: int) -> None:
        self.n_identities = max(n_embeddings, len(tokenizer))
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        vocabulary = tokenizer.get_vocab()
        # WordPiece marks what goes on with a word; others mark what begins one.
        self._marks_insides = any(piece.startswith("##") for piece in vocabulary)
        self._marks = tuple(
            mark for mark in ("Ġ", "▁") if any(piece.startswith(mark) for piece in vocabulary)
        )
        self._known = lru_cache(maxsize=None)(self._token)

    def identities(self, batch: Batch) -> Tensor:
        return batch.inputs["input_ids"]

    def token(self, identity: int) -> Token:
        return self._known(identity)

    def _token(self, identity: int) -> Token:
        piece = self._tokenizer.convert_ids_to_tokens(identity) or f"[{identity}]"
        assert isinstance(piece, str)
        if identity in self._special:
            return Token(text=piece, kind=SPECIAL, begins=True)
        begins, text = self._read(piece, identity)
        return Token(text=text, kind=_kind(text, begins), begins=begins)

    def _read(self, piece: str, identity: int) -> tuple[bool, str]:
        if self._marks_insides:
            return not piece.startswith("##"), piece.removeprefix("##")
        begins = not self._marks or piece.startswith(self._marks)
        # Pieces of bytes are spelled by other characters; the tokenizer knows which.
        text = str(self._tokenizer.decode([identity])).strip()
        return begins, text or piece


def _kind(text: str, begins: bool) -> str:
    if any(character.isalpha() for character in text):
        return WORD if begins else PIECE
    return NUMBER if any(character.isdigit() for character in text) else PUNCTUATION


class ImageTokens:
    """Patches of images by their places, behind the tokens beside them.

    Args:
        image: what the backbone reads.
        n_beside: tokens that are no patches, first.
        n_across: patches in a row.
    """

    kinds = IMAGE_KINDS

    def __init__(self, image: ImageInput, n_beside: int, n_across: int) -> None:
        self.n_identities = image.n_tokens
        self._n_beside = n_beside
        self._n_across = n_across

    def identities(self, batch: Batch) -> Tensor:
        n_rows = len(batch.inputs["pixel_values"])
        return torch.arange(self.n_identities).expand(n_rows, -1)

    def token(self, identity: int) -> Token:
        place = identity - self._n_beside
        if place < 0:
            return Token(text=f"[{identity}]", kind=SPECIAL, begins=True)
        row, column = divmod(place, self._n_across)
        return Token(text=f"row {row + 1} column {column + 1}", kind=PATCH, begins=True)


def _patches_across(backbone: Backbone) -> int:
    assert backbone.image is not None
    return backbone.image.size[1] // patch_size(backbone)[1]


def patch_size(backbone: Backbone) -> tuple[int, int]:
    """Return (height, width) of an image's patches in pixels."""
    size = backbone.model.config.patch_size  # type: ignore[union-attr]
    if isinstance(size, int):
        return size, size
    assert isinstance(size, Sequence)
    return int(size[0]), int(size[1])
