"""What happens where a part of a structure is switched off: quality and cost without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
import torch
from scipy.stats import binomtest
from torch import Tensor

from space.cost import CostModel, TokenStats
from space.spec import AdapterSpec
from trainers.adapted import AdaptedModel
from trainers.bundle import LoadedBundle, head_shape
from trainers.calibration import ways
from trainers.data import Batch
from trainers.explain.answered import leave
from trainers.explain.parts import Part
from trainers.explain.running import Answers, FromBlock
from trainers.metrics import Meter, meter_of
from trainers.model import part_of


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A structure's metrics and cost on the rows."""

    metrics: Mapping[str, float]
    gflops: float
    """Mean of the rows, in the form to be deployed, with each row's exit."""
    most_gflops: float
    """The same where no row leaves early."""
    right: tuple[bool, ...]
    """Of each row whether its label is answered; empty where rows have no single label."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A part and what the structure is without it."""

    part: Part
    without: Scored


@dataclass(frozen=True, kw_only=True)
class Flips:
    """How answers change where a part is off."""

    n_lost: int
    """Rows that were right and are wrong."""
    n_won: int
    """Rows that were wrong and are right."""
    p: float
    """McNemar's exact test: how likely a difference at least as great is by chance alone."""


def flips(whole: Scored, without: Scored) -> Flips | None:
    """Return how the rows' answers change; None where rows have no single label."""
    if not whole.right:
        return None
    pairs = list(zip(whole.right, without.right, strict=True))
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    p = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    return Flips(n_lost=lost, n_won=won, p=p)


class Scoring:
    """Metrics and cost of one structure, summed over batches.

    Args:
        bundle: gives task, labels and threshold.
        spec: the structure.
        lengths: tokens of each row.
    """

    def __init__(self, bundle: LoadedBundle, spec: AdapterSpec, lengths: Sequence[int]) -> None:
        config = bundle.config
        self._threshold = config.exit_threshold
        self._multi_label = config.what.multi_label
        self._meter: Meter = meter_of(config.what, config.labels, config.scale)
        self._places = [*spec.exits, spec.depth]
        self._costs = _row_costs(bundle, spec, lengths)
        self._right: list[bool] = [False] * len(lengths)
        self._has_right = config.what.labels == "class"
        self._gflops = self._most = 0.0
        self._n = 0

    def take(self, rows: Sequence[int], batch: Batch, answers: Answers) -> tuple[Tensor, Tensor]:
        """Take one batch; return the logits that answer, and how many blocks ran for each row."""
        logits, depths = leave(answers, self._threshold, self._multi_label)
        self._meter.update(logits, batch.labels)
        for row, depth in zip(rows, depths.tolist(), strict=True):
            self._gflops += self._costs[row][self._places.index(depth)]
            self._most += self._costs[row][-1]
        if self._has_right:
            right = (logits.argmax(-1) == batch.labels).tolist()
            for row, own in zip(rows, right, strict=True):
                self._right[row] = own
        self._n += len(rows)
        return logits, depths

    def result(self) -> Scored:
        """Return what all batches gave."""
        n = max(self._n, 1)
        return Scored(
            metrics=self._meter.compute(),
            gflops=self._gflops / n,
            most_gflops=self._most / n,
            right=tuple(self._right) if self._has_right else (),
        )


def _row_costs(
    bundle: LoadedBundle, spec: AdapterSpec, lengths: Sequence[int]
) -> list[list[float]]:
    """Return for each row what it costs to leave at each exit and at the end, in GFLOPs."""
    head = head_shape(bundle.config.what, bundle.model.n_outputs)
    measured = ways()
    unique, places = numpy.unique(numpy.asarray(lengths), return_inverse=True)
    costs = [
        CostModel(
            shape=bundle.backbone.shape,
            head=head,
            tokens=TokenStats.of([length]),
            ways=measured,
        ).gflops_behind(spec)
        for length in unique.tolist()
    ]
    return [costs[place] for place in places.tolist()]


class AblationRun:
    """All parts of a model, switched off one by one on each batch.

    Args:
        bundle: with the whole model.
        parts: of its structure.
        lengths: tokens of each row.
    """

    def __init__(self, bundle: LoadedBundle, parts: Sequence[Part], lengths: Sequence[int]) -> None:
        self.parts = parts
        self._scores = [Scoring(bundle, part.rest, lengths) for part in parts]
        self._models = [
            FromBlock(_without(bundle, part), bundle.backbone, part.lowest) for part in parts
        ]

    @property
    def boundaries(self) -> frozenset[int]:
        """The hidden states that `take` wants to know: behind so many blocks."""
        return frozenset(part.lowest for part in self.parts if part.lowest)

    @torch.inference_mode()
    def take(
        self,
        index: int,
        rows: Sequence[int],
        batch: Batch,
        whole: Answers,
        below: Mapping[int, Tensor],
    ) -> None:
        """Run one batch without one part.

        Args:
            index: of the part.
            rows: which the batch holds.
            batch: the rows.
            whole: what the whole model answered; heads below the part answer as they did.
            below: hidden states of the whole model, by boundary.
        """
        lowest = self.parts[index].lowest
        kept = {depth: logits for depth, logits in whole.items() if depth <= lowest}
        answers = kept | self._models[index](batch.inputs, below)
        self._scores[index].take(rows, batch, answers)

    def result(self) -> tuple[Ablation, ...]:
        """Return what each part does, in the order of the parts."""
        return tuple(
            Ablation(part=part, without=score.result())
            for part, score in zip(self.parts, self._scores, strict=True)
        )


def _without(bundle: LoadedBundle, part: Part) -> AdaptedModel:
    return part_of(bundle.model, bundle.backbone, part.rest)
