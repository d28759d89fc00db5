"""All that explains a bundle on some rows, as plain data; and what makes it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from trainers.answers import batch_size_of
from trainers.bundle import BundleConfig, LoadedBundle
from trainers.data import Batch, Table, encode, sorted_batches
from trainers.explain.ablation import Ablation, AblationRun, Scored, Scoring
from trainers.explain.answered import Answered, AnswerSheet, classes_of, range_names, ranges_of
from trainers.explain.attribution import Attribution, Attributor
from trainers.explain.contributions import Contribution, ContributionMeter
from trainers.explain.examples import examples_of
from trainers.explain.kept import KeptMeter, TokensKept
from trainers.explain.parts import parts_of
from trainers.explain.routing import Routing, RoutingMeter
from trainers.explain.rows import ExplainedRows
from trainers.explain.running import Answers, answers_of, blocks_of
from trainers.explain.tokens import Tokens, tokens_of
from trainers.explain.watching import Watcher, looked
from trainers.gathering import hidden_of

Told = Callable[[str, float, float], None]
"""Is told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What explains a bundle."""

    config: BundleConfig
    rows: ExplainedRows
    lengths: tuple[int, ...]
    """Tokens of each row."""
    scored: Scored
    answered: Answered
    classes: tuple[str, ...]
    """What `Routing.by_class` has rows for; none where there are no labels."""
    class_counts: tuple[tuple[int, ...], ...]
    """For each head, lowest first, how many rows of each class it answered; none of words."""
    kinds: tuple[str, ...]
    """What `Routing.by_kind` and `TokensKept.by_kind` are told for."""
    routing: tuple[Routing, ...]
    contributions: tuple[Contribution, ...]
    ablations: tuple[Ablation, ...]
    attributions: tuple[Attribution, ...]
    kept: tuple[TokensKept, ...]
    texts: Mapping[int, tuple[tuple[str, bool], ...]]
    """Of some rows the tokens, each with whether a blank stands before it."""
    notices: tuple[str, ...]
    seconds: float


class _Pass:
    """One look at every row: the whole model, then each part switched off."""

    def __init__(
        self, bundle: LoadedBundle, rows: ExplainedRows, table: Table, tokens: Tokens
    ) -> None:
        self.bundle, self.rows, self.table, self.tokens = bundle, rows, table, tokens
        config, model, backbone = bundle.config, bundle.model, bundle.backbone
        lengths = table.lengths.tolist()
        self.cuts = ranges_of(config, rows.split)
        self.classes = (
            range_names(self.cuts) if config.what.labels == "number" else tuple(config.labels)
        )
        self.ablations = AblationRun(bundle, parts_of(config.spec), lengths)
        self.scoring = Scoring(bundle, config.spec, lengths)
        self.sheet = AnswerSheet(config, rows.split)
        self.watcher = Watcher(model, backbone)
        self.contributions = ContributionMeter(self.watcher)
        self.routing = RoutingMeter(self.watcher, tokens, len(self.classes))
        self.kept = KeptMeter(self.watcher, tokens, len(rows))
        self.below: dict[int, Tensor] = {}
        for layer, block in enumerate(blocks_of(model, backbone)):
            if layer + 1 in self.ablations.boundaries:
                self.watcher.after(block, self._keeper(layer + 1))
        places = [*config.spec.exits, config.spec.depth]
        self.left = {depth: Counter[int]() for depth in places}

    def _keeper(self, boundary: int) -> Callable[..., None]:
        def keep(_args: object, _kwargs: object, result: object) -> None:
            self.below[boundary] = hidden_of(result)

        return keep

    @torch.inference_mode()
    def whole(self, rows: Sequence[int], batch: Batch) -> Answers:
        """Run the whole model on a batch, looking into it."""
        _, classes = classes_of(self.bundle.config, batch, self.cuts)
        self.kept.begin(list(rows))
        with self.watcher.over(looked(batch, self.tokens, classes)):
            answers = answers_of(self.bundle.model, batch.inputs)
        logits, depths = self.scoring.take(rows, batch, answers)
        self.sheet.take(rows, batch, logits, depths)
        if classes.dim() == 2:
            for depth, own in zip(depths.tolist(), classes, strict=True):
                self.left[depth].update(own.nonzero().flatten().tolist())
        return answers

    def run(self, told: Told) -> None:
        """Run all batches, without each part too."""
        depth = self.bundle.config.spec.depth
        parts = self.ablations.parts
        # In blocks of one batch: a part runs from its lowest block on.
        work = depth + sum(depth - part.lowest for part in parts)
        batches = sorted_batches(self.table.lengths, batch_size_of(self.bundle, self.table))
        # The longest rows first, so that what is left is not thought shorter than it is.
        batches = batches[::-1]
        sizes = [int(self.table.lengths[rows].sum()) for rows in batches]
        done, total = 0.0, float(work * sum(sizes))
        try:
            for rows, size in zip(batches, sizes, strict=True):
                told("running the rows", done, total)
                batch = self.table.collate(rows)
                answers = self.whole(rows.tolist(), batch)
                done += depth * size
                for index, part in enumerate(parts):
                    told(f"without {part.name}", done, total)
                    self.ablations.take(index, rows.tolist(), batch, answers, self.below)
                    done += (depth - part.lowest) * size
                self.below.clear()
        finally:
            self.watcher.close()
            self.bundle.model.reset_routing()


def explain(bundle: LoadedBundle, rows: ExplainedRows, told: Told) -> Explanation:
    """Explain a bundle: how it routes, what its parts do, and how good its answers are.

    Every row runs through all blocks, also where an early exit would answer for it; whose head
    answers is decided as in prediction.

    Args:
        bundle: a trained structure.
        rows: with their labels.
        told: is told how it gets on.

    Raises:
        UserError: nothing of the rows can be read.
    """
    began = time.perf_counter()
    config, backbone = bundle.config, bundle.backbone
    table = encode(rows.split, config.what, backbone, config.max_length)
    tokens = tokens_of(backbone)
    passed = _Pass(bundle, rows, table, tokens)
    passed.run(told)
    answered = passed.sheet.result()
    attributions = _attributions(bundle, rows, table, answered, told)
    kept = passed.kept.result()
    shown = range(min(len(rows), N_TEXTS)) if kept and backbone.image is None else ()
    return Explanation(
        config=config,
        rows=rows,
        lengths=tuple(table.lengths.tolist()),
        scored=passed.scoring.result(),
        answered=answered,
        classes=passed.classes,
        class_counts=tuple(
            tuple(passed.left[depth][index] for index in range(len(passed.classes)))
            for depth in sorted(passed.left)
        )
        if config.what.labels != "tags"
        else (),
        kinds=tokens.kinds,
        routing=passed.routing.result(),
        contributions=passed.contributions.result(),
        ablations=passed.ablations.result(),
        attributions=attributions,
        kept=kept,
        texts={row: _tokens_of_row(table, tokens, row) for row in shown},
        notices=(*rows.notices, *table.notices),
        seconds=time.perf_counter() - began,
    )


N_TEXTS = 8
"""Rows whose tokens are shown with what passes a block by."""


def _tokens_of_row(table: Table, tokens: Tokens, row: int) -> tuple[tuple[str, bool], ...]:
    identities = tokens.identities(table.collate(numpy.array([row])))[0].tolist()
    return tuple((token.text, token.begins) for token in map(tokens.token, identities))


def _attributions(
    bundle: LoadedBundle, rows: ExplainedRows, table: Table, answered: Answered, told: Told
) -> tuple[Attribution, ...]:
    images = rows.split.inputs.get("image")
    attributor = Attributor(bundle, table, None if images is None else numpy.asarray(images))
    examples = examples_of(bundle, table, answered)
    found = []
    for number, example in enumerate(examples):
        told("integrated gradients", number, len(examples))
        found.append(attributor.explain(answered, example))
    bundle.model.reset_routing()
    told("integrated gradients", len(examples), len(examples))
    return tuple(found)
