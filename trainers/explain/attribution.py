"""Which tokens carry an answer: integrated gradients, Sundararajan et al. 2017 (arXiv 1703.01365).

The path leads from a baseline, the same row with nothing in it, to the row. What all tokens add up
to is the answer's change on that path (completeness); how far they miss it is told. Routers that
choose experts or tokens jump on the path, and so add to what is missed.

Shapes: `B` batch, `N` tokens, `D` width, `C` outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from torch import Tensor

from trainers.bundle import LoadedBundle
from trainers.data import Table
from trainers.explain.answered import Answered
from trainers.explain.examples import Example
from trainers.explain.pictures import png_of, sums_of_patches
from trainers.explain.running import answers_of
from trainers.explain.tokens import SPECIAL, Tokens, patch_size, tokens_of

N_STEPS = 96
"""Points on the path."""
_ROWS_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One token of an example, and what it adds to the answer."""

    text: str
    begins: bool
    """Whether a blank stands before it."""
    special: bool
    score: float


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What carries one answer."""

    row: int
    """Its place among the explained rows."""
    why: str
    """What it is an example of."""
    about: str
    """What is explained, in words."""
    place: int | None
    """Of the token that the answer is about; None where it is about the row."""
    pieces: tuple[Piece, ...]
    """The tokens in order; none of images."""
    grid: tuple[tuple[float, ...], ...]
    """What each patch of an image adds; none of texts."""
    picture: bytes
    """The image as PNG; empty of texts."""
    nothing: str
    """The token that stands for all others at the baseline; empty of images."""
    value: float
    """What is explained, at the row: log-odds of the answer (nats), or the number."""
    baseline: float
    """The same at the baseline."""
    delta: float
    """By how much the tokens' sum misses value - baseline."""


class Attributor:
    """Explains single answers of a bundle.

    Args:
        bundle: the model as it was trained, and its backbone.
        table: the rows.
        images: their pixels (rows, channels, height, width), where they are images.
    """

    def __init__(self, bundle: LoadedBundle, table: Table, images: Any = None) -> None:
        self._bundle = bundle
        self._table = table
        self._images = images
        self._tokens: Tokens = tokens_of(bundle.backbone)

    def explain(self, answered: Answered, example: Example) -> Attribution:
        """Return what carries one answer, by the head that gave it."""
        batch = self._table.collate(numpy.array([example.row]))
        depth = answered.rows[example.row].depth
        score = _Score(self._bundle, depth, example)
        if self._bundle.backbone.image is not None:
            pixels = batch.inputs["pixel_values"]
            found, delta, ends = _along(
                IntegratedGradients(score.of_pixels),
                pixels,
                torch.zeros_like(pixels),
                (),
                score.of_pixels,
            )
            grid = sums_of_patches(found[0].sum(0), patch_size(self._bundle.backbone))
            return self._told(
                example, ends, delta, grid=grid, picture=png_of(self._images[example.row])
            )
        ids = batch.inputs["input_ids"]
        others = tuple(v for k, v in batch.inputs.items() if k != "input_ids")
        score.names = tuple(k for k in batch.inputs if k != "input_ids")
        embeddings = self._bundle.backbone.model.get_input_embeddings()  # type: ignore[operator]
        method = LayerIntegratedGradients(score.of_ids, embeddings)
        found, delta, ends = _along(method, ids, self._baseline(ids), others, score.of_ids)
        scores = found[0].sum(-1).tolist()
        pieces = tuple(
            Piece(
                text=token.text,
                begins=token.begins,
                special=token.kind == SPECIAL,
                score=own,
            )
            for token, own in zip(map(self._tokens.token, ids[0].tolist()), scores, strict=True)
        )
        return self._told(example, ends, delta, pieces=pieces)

    def _told(
        self,
        example: Example,
        ends: tuple[float, float],
        delta: float,
        *,
        pieces: tuple[Piece, ...] = (),
        grid: tuple[tuple[float, ...], ...] = (),
        picture: bytes = b"",
    ) -> Attribution:
        return Attribution(
            row=example.row,
            why=example.why,
            about=example.about,
            place=example.place,
            pieces=pieces,
            grid=grid,
            picture=picture,
            nothing=self._tokens.token(baseline_id(self._bundle)).text if pieces else "",
            value=ends[1],
            baseline=ends[0],
            delta=delta,
        )

    def _baseline(self, ids: Tensor) -> Tensor:
        """Return the ids with all but special tokens taken out."""
        tokenizer = self._bundle.backbone.tokenizer
        assert tokenizer is not None
        special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids, dtype=ids.dtype))
        return torch.where(special, ids, baseline_id(self._bundle))


def baseline_id(bundle: LoadedBundle) -> int:
    """Return the token that stands for nothing: padding, or what is the next best to it."""
    tokenizer = bundle.backbone.tokenizer
    assert tokenizer is not None
    for token in (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


class _Score:
    """The number that is explained, of rows that are all at one place on the path.

    Args:
        bundle: whose answer it is.
        depth: of the head that gave it.
        example: which answer.
    """

    def __init__(self, bundle: LoadedBundle, depth: int, example: Example) -> None:
        self._bundle = bundle
        self._depth = depth
        self._example = example
        self.names: tuple[str, ...] = ()

    def of_ids(self, ids: Tensor, *others: Tensor) -> Tensor:
        """(B, N) gives (B,)."""
        return self._of({"input_ids": ids, **dict(zip(self.names, others, strict=True))})

    def of_pixels(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) gives (B,)."""
        return self._of({"pixel_values": pixels})

    def _of(self, inputs: Mapping[str, Tensor]) -> Tensor:
        logits = answers_of(self._bundle.model, inputs)[self._depth]
        if self._example.place is not None:
            logits = logits[:, self._example.place]
        config, output = self._bundle.config, self._example.output
        if config.what.labels == "number":
            assert config.scale is not None
            return logits[:, 0] * config.scale.std + config.scale.mean
        if config.what.multi_label:
            return logits[:, output]  # the log-odds of a label that stands by itself
        others = torch.cat([logits[:, :output], logits[:, output + 1 :]], -1)
        if others.shape[1] == 0:
            return logits[:, output]
        return logits[:, output] - others.logsumexp(-1)


def _along(
    method: Any, inputs: Tensor, baseline: Tensor, others: tuple[Tensor, ...], score: Any
) -> tuple[Tensor, float, tuple[float, float]]:
    """Return what each input adds, by how much their sum misses, and the ends of the path."""
    found, delta = method.attribute(
        inputs,
        baselines=baseline,
        additional_forward_args=others or None,
        n_steps=N_STEPS,
        internal_batch_size=_ROWS_AT_ONCE,
        return_convergence_delta=True,
    )
    with torch.no_grad():
        ends = float(score(baseline, *others)[0]), float(score(inputs, *others)[0])
    return found.detach(), float(delta[0]), ends
