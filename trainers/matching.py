"""Match a model's layers to roles: from the table of families, or by the model's structure.

An unknown family is tried: its repeated block is found and each linear layer in it is given a role
by its name and shape. Where that leaves a role open or gives it twice, the model is refused.
"""

import re
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from space.errors import UserError
from trainers.families import FAMILIES, Family, Place, resolved, roles_at

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


def family_of(name: str, model: nn.Module, config: PretrainedConfig) -> Family:
    """Return the family of a model: its entry of the table, or one made of its structure.

    Raises:
        UserError: the family is unknown, and its structure does not tell the roles.
    """
    known = FAMILIES.get(config.model_type)
    return resolved(known, model) if known is not None else _by_structure(name, model, config)


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


def _by_structure(name: str, model: nn.Module, config: PretrainedConfig) -> Family:
    blocks = _repeated_block(name, model, config)
    layers = linear_layers(model.get_submodule(blocks).get_submodule("0"))
    given = [(path, _role_of(path)) for path, _ in layers]
    counts = Counter(role for _, role in given if role)
    problems = [f"{role} is missing" for role in NEEDED if not counts[role]]
    problems += [f"{role} fits several layers" for role, count in counts.items() if count > 1]
    if problems:
        found = "; ".join(
            f"{path} {widths(layer)[0]}->{widths(layer)[1]}: {role or 'no role'}"
            for (path, layer), (_, role) in zip(layers, given, strict=True)
        )
        raise UserError(
            f"backbone: {name!r} is of the family {config.model_type!r}, which is not in the table"
            f" of families ({', '.join(FAMILIES)}), and the layers of its blocks ({blocks}) do not"
            f" tell their roles: {', '.join(problems)}. Found: {found}. Add an entry to"
            " trainers/families.py."
        )
    return Family(
        model_type=config.model_type,
        blocks=blocks,
        roles=roles_at(**{role: Place(path) for path, role in given if role}),
        final_norm=_final_norm(model, blocks),
        unused=tuple(part for part, _ in model.named_children() if part == "pooler"),
        gathers_tokens=False,  # what its blocks make of positions is not known
        causal=_is_causal(model),
    )


def _repeated_block(name: str, model: nn.Module, config: PretrainedConfig) -> str:
    """Return the path of the longest list of like modules that hold linear layers."""
    lists = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len({type(block) for block in module}) == 1
        and len(linear_layers(module[0])) >= _LEAST_LAYERS
    }
    outer = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    if len(outer) != 1 or config.is_encoder_decoder:
        raise UserError(
            f"backbone: {name!r} is of the family {config.model_type!r}, which is not in the table"
            f" of families ({', '.join(FAMILIES)}), and it has {len(outer)} lists of blocks where"
            " one is needed. Add an entry to trainers/families.py."
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


def _role_of(path: str) -> str:
    """Return the role that a layer's path tells, or nothing."""
    for role, names in _NAMES.items():
        if re.fullmatch(rf"(.*\.)?({names})", path):
            return role
    if _IN_ATTENTION.search(path):
        return "attention_output" if re.fullmatch(rf".*\.({_ATTENTION_ENDS})", path) else ""
    return "ffn_down" if re.fullmatch(rf"(.*\.)?({_FFN_ENDS})", path) else ""


def _final_norm(model: nn.Module, blocks: str) -> str:
    """Return the path of a norm that stands behind the list of blocks, beside it."""
    parent, _, last = blocks.rpartition(".")
    names = [name for name, _ in model.get_submodule(parent).named_children()]
    behind = names[names.index(last) + 1 :]
    norms = [name for name in behind if "norm" in name.lower() or name.startswith("ln")]
    return f"{parent}.{norms[0]}".lstrip(".") if norms else ""


@torch.no_grad()
def _is_causal(model: nn.Module) -> bool:
    """Try whether what the first token gives depends on the last one."""
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]])
    hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    return bool(torch.allclose(hidden[0, 0], hidden[1, 0], atol=1e-6))
