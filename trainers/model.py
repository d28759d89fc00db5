"""Build the model of a structure on a backbone, for training or in the form to be deployed."""

import inspect
from collections.abc import Mapping

import torch
from torch import nn

from space.adapter import Adapter
from space.cost import CONCATENATED, Ways
from space.errors import UserError
from space.spec import AdapterSpec
from trainers.adapted import AdaptedModel
from trainers.adapters import SideNetwork
from trainers.attach import ATTACHMENTS, Materials, adapted_block, merged_block
from trainers.backbone import Backbone
from trainers.graft import graft
from trainers.heads import FrozenHead, RowHead, TokenHead
from trainers.passing import Pass
from trainers.recall import Recalled, RecalledEmbeddings
from trainers.skipping import PINNED, AtExit, Skip, SomeRows, SomeTokens

__all__ = ["HEADS", "AdaptedModel", "build", "check_fits", "concatenated", "deploy", "part_of"]

HEADS = ("sequence", "token", "lm")
"""What a head answers for: the row, every token, or the next token (the backbone's own head)."""


def concatenated(*_sizes: int) -> str:
    """Compute all experts as one product: right for a few rows, and needs no calibration."""
    return CONCATENATED


def build(
    backbone: Backbone,
    spec: AdapterSpec,
    n_outputs: int,
    seed: int,
    *,
    head: str = "sequence",
    ways: Ways = concatenated,
) -> AdaptedModel:
    """Return the structure `spec` on `backbone`, its new weights drawn from `seed`.

    Args:
        backbone: shared, and left as it is.
        spec: the structure.
        n_outputs: width of the answer; of a language model that of its vocabulary.
        seed: of the new weights.
        head: one of HEADS.
        ways: how this machine computes sparse experts.

    Raises:
        UserError: the structure does not fit the backbone (too deep, or a role it lacks), or the
            head.
    """
    check_fits(backbone, spec, head)
    shape, running = backbone.shape, Pass()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stuff = Materials(shape=shape, ways=ways, running=running)
        modules = {a: ATTACHMENTS[a.kind].build(a, stuff) for a in spec.adapters}
        skips = {str(s.layer): Skip(shape.width, s.rank) for s in spec.skips}
        exits = {str(e): RowHead(shape.width, n_outputs, spec.pooling) for e in spec.exits}
        side = None if spec.side is None else SideNetwork(spec.side, shape.width)
        last = _head(head, backbone, n_outputs, spec.pooling)
    return _assemble(
        backbone,
        spec,
        n_outputs,
        running,
        modules=modules,
        skips=nn.ModuleDict(skips),
        exits=nn.ModuleDict(exits),
        side=side,
        head=last,
    ).eval()


def _head(kind: str, backbone: Backbone, n_outputs: int, pooling: str) -> nn.Module:
    if kind == "lm":
        assert backbone.lm_head is not None, "the backbone was loaded without its own head"
        return FrozenHead(backbone.lm_head)
    if kind == "token":
        return TokenHead(backbone.shape.width, n_outputs)
    return RowHead(backbone.shape.width, n_outputs, pooling)


def check_fits(backbone: Backbone, spec: AdapterSpec, head: str) -> None:
    """Raise UserError unless every adapter has a place in the backbone, and the head its input."""
    shape = backbone.shape
    if spec.depth > shape.n_layers:
        raise UserError(
            f"The structure runs {spec.depth} blocks, but the backbone {backbone.name!r} has"
            f" {shape.n_layers}."
        )
    for adapter in spec.adapters:
        if adapter.role not in shape.roles:
            raise UserError(
                f"The role {adapter.role!r} matches nothing in the backbone {backbone.name!r};"
                f" it has {', '.join(shape.roles)}."
            )
        if adapter.kind == "prefix" and not shape.takes_prefix:
            raise UserError(f"The attention of the backbone {backbone.name!r} takes no prefix.")
    if spec.skips and not shape.gathers_tokens:
        raise UserError(
            f"The blocks of the backbone {backbone.name!r} cannot run on a part of the tokens."
        )
    if head == "sequence" and spec.pooling == "none":
        raise UserError("The structure has no pooling, but this task answers for whole rows.")
    if head != "sequence" and spec.exits:
        raise UserError(
            "The structure has early exits, which answer for whole rows, but this task answers for"
            " every token."
        )


def deploy(model: AdaptedModel, backbone: Backbone) -> AdaptedModel:
    """Return the model in the form that would be deployed: mergeable adapters are merged.

    The result is for inference only; it answers as `model` does, to rounding.
    """
    return _rebuilt(model, backbone, model.spec, merge=True)


def part_of(model: AdaptedModel, backbone: Backbone, spec: AdapterSpec) -> AdaptedModel:
    """Return a model of a part of another's structure, which shares its modules and weights.

    Args:
        model: left as it is.
        backbone: what it stands on.
        spec: the structure of `model` without some adapters, skips, or its side network.
    """
    assert set(spec.adapters) <= set(model.spec.adapters)
    assert set(spec.skips) <= set(model.spec.skips)
    return _rebuilt(model, backbone, spec, merge=False)


def _rebuilt(
    model: AdaptedModel, backbone: Backbone, spec: AdapterSpec, *, merge: bool
) -> AdaptedModel:
    return _assemble(
        backbone,
        spec,
        model.n_outputs,
        model.running,
        modules={a: model.adapters.get_submodule(f"{a.layer}.{a.role}") for a in spec.adapters},
        skips=nn.ModuleDict({str(s.layer): model.skips[str(s.layer)] for s in spec.skips}),
        exits=model.exits,
        side=None if spec.side is None else model.side,
        head=_head_on(backbone, model.head),
        merge=merge,
    ).eval()


def _head_on(backbone: Backbone, head: nn.Module) -> nn.Module:
    """Return a model's head on a backbone: the backbone's own one may be in another precision."""
    if not isinstance(head, FrozenHead):
        return head
    assert backbone.lm_head is not None
    return FrozenHead(backbone.lm_head)


def _assemble(
    backbone: Backbone,
    spec: AdapterSpec,
    n_outputs: int,
    running: Pass,
    *,
    modules: Mapping[Adapter, nn.Module],
    skips: nn.ModuleDict,
    exits: nn.ModuleDict,
    side: SideNetwork | None,
    head: nn.Module,
    merge: bool = False,
) -> AdaptedModel:
    family = backbone.family
    blocks = list(backbone.model.get_submodule(family.blocks).children())[: spec.depth]
    for layer in range(spec.first_insertion_layer):
        blocks[layer] = Recalled(blocks[layer], layer, spec.boundaries, running)
    for layer in spec.insertion_layers:
        placed = {a: m for a, m in modules.items() if a.layer == layer}
        blocks[layer] = _block(backbone, blocks[layer], placed, merge)
    for skip in spec.skips:
        beside = skips[str(skip.layer)]
        assert isinstance(beside, Skip)
        pinned = PINNED.get(spec.pooling)
        blocks[skip.layer] = SomeTokens(blocks[skip.layer], beside, skip, running, pinned)
    if spec.exits:
        blocks = [
            SomeRows(block, running) if layer >= spec.exits[0] else block
            for layer, block in enumerate(blocks)
        ]
    for depth in spec.exits:
        blocks[depth - 1] = AtExit(blocks[depth - 1], depth, running)
    replaced: dict[str, nn.Module | None] = dict.fromkeys(family.unused)
    if family.embeddings and spec.first_insertion_layer > 0:
        embeddings = backbone.model.get_submodule(family.embeddings)
        replaced[family.embeddings] = RecalledEmbeddings(embeddings, spec.boundaries, running)
    norm = family.final_norm
    return AdaptedModel(
        spec=spec,
        n_outputs=n_outputs,
        view=graft(backbone.model, {family.blocks: nn.ModuleList(blocks), **replaced}),
        accepted=frozenset(inspect.signature(backbone.model.forward).parameters),
        final_norm=backbone.model.get_submodule(norm) if norm else nn.Identity(),
        adapters=_by_layer_and_role(modules),
        skips=skips,
        exits=exits,
        side=side,
        head=head,
        running=running,
        needs_no_block=spec.first_insertion_layer == spec.depth and _only_blocks(backbone),
    )


def _only_blocks(backbone: Backbone) -> bool:
    """Return whether nothing stands between the blocks (DeBERTa may have a convolution there)."""
    parent = backbone.model.get_submodule(backbone.family.blocks.rpartition(".")[0])
    return getattr(parent, "conv", None) is None


def _block(
    backbone: Backbone, block: nn.Module, placed: Mapping[Adapter, nn.Module], merge: bool
) -> nn.Module:
    folded = {a: m for a, m in placed.items() if merge and a.mergeable}
    kept = {a: m for a, m in placed.items() if a not in folded}
    return adapted_block(merged_block(block, backbone.family, folded), backbone.family, kept)


def _by_layer_and_role(modules: Mapping[Adapter, nn.Module]) -> nn.ModuleDict:
    layers: dict[str, nn.ModuleDict] = {}
    for adapter, module in modules.items():
        layers.setdefault(str(adapter.layer), nn.ModuleDict())[adapter.role] = module
    return nn.ModuleDict(layers)
