"""Match a model's layers to roles: from the table of families, or by the model's structure.

An unknown family is tried: its repeated block is found and each linear layer in it is given a role
by its name, which its shape has to fit. Where that leaves a role open or gives it twice, the model
is refused. What its structure does not tell is seen by running it (trainers/probe.py).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from space.errors import UserError
from trainers.families import FAMILIES, Family, Place, resolved, roles_at
from trainers.image_input import ImageInput
from trainers.probe import ProbeError, probe

NEEDED = ("query", "value", "attention_output", "ffn_up", "ffn_down")
"""Roles that a family matched by structure has to have; keys and gates may be missing."""

_LEAST_LAYERS = 3  # of a block; what is missing of NEEDED is then told with what was found

# Last words of the names that linear layers have in transformers' models. `dense`, `wo` and
# `c_proj` stand for both ends of a block; there the attention part is told by the rest of the path.
_NAMES = {
    "query": r"q|query|q_proj|q_lin|query_proj|wq|to_q",
    "key": r"k|key|k_proj|k_lin|key_proj|wk|to_k",
    "value": r"v|value|v_proj|v_lin|value_proj|wv|to_v",
    "ffn_gate": r"gate_proj|wi_0",
    "ffn_up": r"fc1|fc_in|up_proj|lin1|c_fc|wi|wi_1|dense_h_to_4h|intermediate\.dense|linear1|ffn",
    "ffn_down": r"fc2|fc_out|down_proj|lin2|dense_4h_to_h|linear2|ffn_output",
}
_ATTENTION_ENDS = r"o|o_proj|out_proj|out_lin|wo|c_proj|dense|to_out"
_FFN_ENDS = r"wo|c_proj|output\.dense|dense"
_IN_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Matched:
    """One linear layer of a block, or a part of one, with the role it was given."""

    role: str
    """Empty where it has none."""
    path: str
    shape: tuple[int, int]
    """(input width, output width)."""


@dataclass(frozen=True, kw_only=True)
class MatchReport:
    """Which layers of a backbone serve which roles."""

    model_type: str
    how: str
    """`table`, or `structure`."""
    blocks: str
    n_blocks: int
    layers: tuple[Matched, ...]
    """Of one block; all blocks are alike."""


def family_of(
    name: str, model: nn.Module, config: PretrainedConfig, image: ImageInput | None = None
) -> Family:
    """Return the family of a model: its entry of the table, or one made of its structure.

    Args:
        name: of the backbone, for messages.
        model: the bare model.
        config: its own.
        image: what images it reads; None where it reads text.

    Raises:
        UserError: the family is unknown, and its structure does not tell the roles.
    """
    known = FAMILIES.get(config.model_type)
    return (
        resolved(known, model) if known is not None else _by_structure(name, model, config, image)
    )


def match_report(model: nn.Module, family: Family) -> MatchReport:
    """Return which layers of a model's blocks serve which roles."""
    blocks = model.get_submodule(family.blocks)
    assert isinstance(blocks, nn.ModuleList)
    layers = []
    for path, layer in linear_layers(blocks[-1]):
        d_in, d_out = widths(layer)
        served = [(role, place) for role, place in family.roles if place.path == path]
        for role, place in served:
            part = "" if place.n_parts == 1 else f" ({place.part + 1} of {place.n_parts})"
            matched = Matched(role=role, path=path + part, shape=(d_in, d_out // place.n_parts))
            layers.append(matched)
        if not served:
            layers.append(Matched(role="", path=path, shape=(d_in, d_out)))
    return MatchReport(
        model_type=family.model_type,
        how="table" if family.model_type in FAMILIES else "structure",
        blocks=family.blocks,
        n_blocks=len(blocks),
        layers=tuple(layers),
    )


def linear_layers(block: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the linear layers of a block, by path."""
    return [(p, m) for p, m in block.named_modules() if isinstance(m, (nn.Linear, Conv1D))]


def widths(layer: nn.Module) -> tuple[int, int]:
    """Return (input width, output width) of a linear layer."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, Conv1D)
    d_in, d_out = layer.weight.shape
    return d_in, d_out


def _by_structure(
    name: str, model: nn.Module, config: PretrainedConfig, image: ImageInput | None
) -> Family:
    path = _repeated_block(name, model, config)
    blocks = model.get_submodule(path)
    assert isinstance(blocks, nn.ModuleList)
    layers = {layer: widths(module) for layer, module in linear_layers(blocks[0])}
    given = {layer: _role_of(layer) for layer in layers}
    problems = _open_roles(given) or _misfits({given[layer]: layers[layer] for layer in layers})
    if any({p: widths(m) for p, m in linear_layers(block)} != layers for block in blocks):
        problems = ["not all blocks have the same layers"]
    if problems:
        found = "; ".join(
            f"{layer} {d_in}->{d_out}: {given[layer] or 'no role'}"
            for layer, (d_in, d_out) in layers.items()
        )
        raise _unknown(
            name,
            config,
            f"the layers of its blocks ({path}) do not tell their roles:"
            f" {', '.join(problems)}. Found: {found}",
        )
    try:
        seen = probe(model, path, image)
    except ProbeError as error:
        raise _unknown(name, config, str(error)) from error
    return Family(
        model_type=config.model_type,
        blocks=path,
        roles=roles_at(**{role: Place(layer) for layer, role in given.items() if role}),
        final_norm=seen.final_norm,
        unused=seen.unused,
        positions_after_padding=_counts_from_padding(model),
        gathers_tokens=False,  # what its blocks make of positions is not known
        causal=seen.causal,
        modality="text" if image is None else "image",
        beside_patches=1 if image is None else 1 + seen.n_tokens - image.n_tokens,
    )


def _unknown(name: str, config: PretrainedConfig, what: str) -> UserError:
    return UserError(
        f"backbone: {name!r} is of the family {config.model_type!r}, which is not in the table of"
        f" families ({', '.join(FAMILIES)}), and {what}. Add an entry to trainers/families.py."
    )


def _open_roles(given: Mapping[str, str]) -> list[str]:
    """Return which roles have no layer, or several."""
    counts = Counter(role for role in given.values() if role)
    missing = [f"{role} is missing" for role in NEEDED if not counts[role]]
    return missing + [f"{role} fits several layers" for role, n in counts.items() if n > 1]


def _misfits(shapes: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return which layers are not as wide as their roles have to be."""
    width, inner = shapes["ffn_down"][1], shapes["ffn_down"][0]
    heads, kv_width = shapes["attention_output"][0], shapes["value"][1]
    wanted = {
        "query": (width, heads),
        "key": (width, kv_width),
        "value": (width, kv_width),
        "attention_output": (heads, width),
        "ffn_gate": (width, inner),
        "ffn_up": (width, inner),
    }
    return [
        f"{role} is {shapes[role][0]}->{shapes[role][1]} where {d_in}->{d_out} would fit"
        for role, (d_in, d_out) in wanted.items()
        if role in shapes and shapes[role] != (d_in, d_out)
    ]


def _repeated_block(name: str, model: nn.Module, config: PretrainedConfig) -> str:
    """Return the path of the one list of like modules that hold linear layers."""
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len({type(block) for block in module}) == 1
        and len(linear_layers(module[0])) >= _LEAST_LAYERS
    }
    outer = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    if len(outer) != 1 or config.is_encoder_decoder:
        found = f" ({', '.join(outer)})" if outer else ""
        raise _unknown(
            name, config, f"it has {len(outer)} lists of blocks where one is needed{found}"
        )
    path: str = outer[0]
    n_found, n_wanted = len(lists[path]), config.num_hidden_layers
    if n_found != n_wanted:
        raise UserError(
            f"backbone: {name!r} is of the family {config.model_type!r}, which is not in the table"
            f" of families, and it runs {n_wanted} blocks but has {n_found} ({path}): some are run"
            " several times, which is unsupported."
        )
    return path


def _counts_from_padding(model: nn.Module) -> bool:
    """Return whether positions begin behind the id of padding, as RoBERTa's do."""
    positions = dict(model.named_modules()).get("embeddings.position_embeddings")
    return isinstance(positions, nn.Embedding) and positions.padding_idx is not None


def _role_of(path: str) -> str:
    """Return the role that a layer's path tells, or nothing."""
    for role, names in _NAMES.items():
        if re.fullmatch(rf"(.*\.)?({names})", path):
            return role
    if _IN_ATTENTION.search(path):
        return "attention_output" if re.fullmatch(rf".*\.({_ATTENTION_ENDS})", path) else ""
    return "ffn_down" if re.fullmatch(rf"(.*\.)?({_FFN_ENDS})", path) else ""
