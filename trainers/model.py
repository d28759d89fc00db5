"""One structure as a model: a view of the frozen backbone with its adapters, and a head.

Shapes: `B` batch, `N` tokens, `D` width, `C` outputs.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from space.errors import UserError
from space.kinds import KINDS
from space.spec import Adapter, AdapterSpec
from trainers.attach import ATTACHMENTS, adapted_block, merged_block
from trainers.backbone import Backbone
from trainers.graft import graft
from trainers.pooling import build_pooling


class AdaptedModel(nn.Module):
    """The backbone to its depth with adapters, then pooling, then a linear head.

    The frozen weights belong to the backbone and are shared; what is trained, and all that is
    saved, are `adapters`, `pooling` and `head`. The backbone stays in eval mode in training too.
    """

    def __init__(
        self,
        *,
        spec: AdapterSpec,
        n_outputs: int,
        view: nn.Module,
        adapters: nn.ModuleDict,
        pooling: nn.Module,
        head: nn.Linear,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.n_outputs = n_outputs
        self.view = view
        self.adapters = adapters
        self.pooling = pooling
        self.head = head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids (B, N) and their mask (B, N) give logits (B, C)."""
        hidden = self.view(input_ids=input_ids, attention_mask=attention_mask)[0]  # (B, N, D)
        return self.head(self.pooling(hidden, attention_mask))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        """Set training mode on what is trained; the backbone keeps eval mode (no dropout)."""
        self.training = mode
        for trained in (self.adapters, self.pooling, self.head):
            trained.train(mode)
        return self

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return every parameter that is trained."""
        parts = (self.adapters, self.pooling, self.head)
        return [parameter for part in parts for parameter in part.parameters()]

    def trained_state(self) -> dict[str, Tensor]:
        """Return what was trained, by name, such as `adapters.3.query.up`."""
        return {
            f"{part}.{name}": tensor
            for part in ("adapters", "pooling", "head")
            for name, tensor in getattr(self, part).state_dict().items()
        }

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy trained weights in.

        Raises:
            ValueError: names or shapes are not those of this structure.
        """
        own = self.trained_state()
        if own.keys() != state.keys():
            strange = sorted(own.keys() ^ state.keys())
            raise ValueError(f"The weights do not belong to this structure: {strange[:3]} differ.")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(
                    f"The weights do not belong to this structure: {name} has the shape"
                    f" {tuple(state[name].shape)}, but the structure wants {tuple(tensor.shape)}."
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])


def build(backbone: Backbone, spec: AdapterSpec, n_outputs: int, seed: int) -> AdaptedModel:
    """Return the structure `spec` on `backbone`, its new weights drawn from `seed`.

    Raises:
        UserError: the structure does not fit the backbone (too deep, or a role it lacks).
    """
    check_fits(backbone, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = {a: ATTACHMENTS[a.kind].build(a, backbone.shape) for a in spec.adapters}
        pooling = build_pooling(spec.pooling, backbone.shape.width)
        head = nn.Linear(backbone.shape.width, n_outputs)
        nn.init.normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
    model = AdaptedModel(
        spec=spec,
        n_outputs=n_outputs,
        view=_view(backbone, spec, modules),
        adapters=_by_layer_and_role(modules),
        pooling=pooling,
        head=head,
    )
    return model.eval()


def check_fits(backbone: Backbone, spec: AdapterSpec) -> None:
    """Raise UserError unless every adapter has a place in the backbone."""
    if spec.depth > backbone.shape.n_layers:
        raise UserError(
            f"The structure runs {spec.depth} blocks, but the backbone {backbone.name!r} has"
            f" {backbone.shape.n_layers}."
        )
    for adapter in spec.adapters:
        if adapter.role not in backbone.shape.roles:
            raise UserError(
                f"The role {adapter.role!r} matches nothing in the backbone {backbone.name!r};"
                f" it has {', '.join(backbone.shape.roles)}."
            )


def deploy(model: AdaptedModel, backbone: Backbone) -> AdaptedModel:
    """Return the model in the form that would be deployed: mergeable adapters are merged.

    The result is for inference only; it answers as `model` does, to rounding.
    """
    modules = {a: _module_of(model, a) for a in model.spec.adapters}
    deployed = AdaptedModel(
        spec=model.spec,
        n_outputs=model.n_outputs,
        view=_view(backbone, model.spec, modules, merge=True),
        adapters=model.adapters,
        pooling=model.pooling,
        head=model.head,
    )
    return deployed.eval()


def _module_of(model: AdaptedModel, adapter: Adapter) -> nn.Module:
    return model.adapters.get_submodule(f"{adapter.layer}.{adapter.role}")


def _by_layer_and_role(modules: Mapping[Adapter, nn.Module]) -> nn.ModuleDict:
    layers: dict[str, nn.ModuleDict] = {}
    for adapter, module in modules.items():
        layers.setdefault(str(adapter.layer), nn.ModuleDict())[adapter.role] = module
    return nn.ModuleDict(layers)


def _view(
    backbone: Backbone,
    spec: AdapterSpec,
    modules: Mapping[Adapter, nn.Module],
    merge: bool = False,
) -> nn.Module:
    """Return a view of the backbone: cut to its depth, with the adapters in its blocks."""
    family = backbone.family
    blocks = list(backbone.model.get_submodule(family.blocks).children())[: spec.depth]
    for layer in spec.insertion_layers:
        placed = {a: m for a, m in modules.items() if a.layer == layer}
        if merge:
            folded = {a: m for a, m in placed.items() if KINDS[a.kind].mergeable}
            blocks[layer] = merged_block(blocks[layer], family, folded)
            placed = {a: m for a, m in placed.items() if a not in folded}
        blocks[layer] = adapted_block(blocks[layer], family, placed)
    removed = dict.fromkeys(family.unused)
    return graft(backbone.model, {family.blocks: nn.ModuleList(blocks), **removed})
