"""Run a model whole, or from some block on where what comes out below is known.

An ablation changes a structure from one block on; all below gives what it gave before. So a row
runs whole once, and for each ablation only from its lowest block on.

Shapes: `B` batch, `N` tokens, `D` width, `C` outputs.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from trainers.adapted import AdaptedModel
from trainers.backbone import Backbone
from trainers.graft import graft
from trainers.passing import Pass
from trainers.recall import Recalled

Answers = dict[int, Tensor]
"""Blocks that ran -> the logits of the head behind them: of each exit, and of the end."""


def answers_of(model: AdaptedModel, inputs: Mapping[str, Tensor], *, above: int = 0) -> Answers:
    """Return the logits of every head behind more than `above` blocks; all rows run to the end."""
    answers: Answers = {}

    def at_exit(depth: int, hidden: Tensor) -> None:
        if depth > above:
            answers[depth] = model.answer_at(depth, hidden, None)

    model.running.at_exit = at_exit
    try:
        hidden = model.hidden(**inputs)
    finally:
        model.running.at_exit = None
    answers[model.spec.depth] = model.answer_at(None, hidden, None)
    return answers


def blocks_of(model: AdaptedModel, backbone: Backbone) -> list[nn.Module]:
    """Return the blocks of a model that run, with all that stands around and in them."""
    return list(model.view.get_submodule(backbone.family.blocks).children())


class FromBlock:
    """A model that runs from some block on.

    Args:
        model: whole.
        backbone: what it stands on.
        layer: the first block that runs.
    """

    def __init__(self, model: AdaptedModel, backbone: Backbone, layer: int) -> None:
        self.layer = layer
        # A pass of its own: to the model's own one these blocks are not known.
        self._known = Pass()
        blocks = [
            Recalled(block, index, (), self._known) if index < layer else block
            for index, block in enumerate(blocks_of(model, backbone))
        ]
        path = f"view.{backbone.family.blocks}"
        self._model = graft(model, {path: nn.ModuleList(blocks)})

    def __call__(self, inputs: Mapping[str, Tensor], below: Mapping[int, Tensor]) -> Answers:
        """Return the logits of the heads behind more than `layer` blocks.

        Args:
            inputs: of the rows.
            below: hidden states (B, N, D) behind `layer` blocks, by that number.
        """
        assert isinstance(self._model, AdaptedModel)
        self._known.boundaries = {self.layer: below[self.layer]} if self.layer else {}
        return answers_of(self._model, inputs, above=self.layer)
