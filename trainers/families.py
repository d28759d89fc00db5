"""The table of backbone families: where in a model the blocks and their sub-modules are found.

A new family is one entry: attribute names, nothing else (the idea is adapter-hub's). A family that
is not in the table is matched by its structure (trainers/matching.py).
"""

from dataclasses import dataclass, replace

from torch import nn

from space.roles import LINEAR_ROLES


@dataclass(frozen=True)
class Place:
    """Where in a block a role's linear layer is."""

    path: str
    """Of the layer, inside a block."""
    part: int = 0
    """Which part of the layer's output is the role's, where one layer computes several."""
    n_parts: int = 1
    """Into how many equal parts its output falls."""


Roles = tuple[tuple[str, Place], ...]
"""For each linear role that a block has: (role, its place), in canonical order."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Attribute names of one family of transformers models (its `model_type`)."""

    model_type: str
    blocks: str
    """Path of the list of blocks in the bare model."""
    roles: Roles
    embeddings: str = ""
    """Path of the module whose output is the first block's input, as it is; empty where something
    stands between the two."""
    other_roles: tuple[Roles, ...] = ()
    """Of variants within the family; the first whose layers are there is taken."""
    attention: str = ""
    """Path in a block of the module that calls transformers' attention function, which a prefix is
    given to; empty where there is none such."""
    final_norm: str = ""
    """Path of the norm behind the last block, where the family has one."""
    unused: tuple[str, ...] = ()
    """Parts of the model behind the last block that are not run."""
    positions_after_padding: bool = False
    """Whether positions are counted from behind the id of padding, so that fewer are left."""
    gathers_tokens: bool = True
    """Whether a block can run on a part of the tokens, its arguments cut to them."""
    causal: bool = False
    """Whether a token sees only those before it."""
    modality: str = "text"
    """`text` or `image`."""
    beside_patches: int = 1
    """How many tokens of an image are none of its patches."""


def roles_at(**places: str | Place) -> Roles:
    """Return roles with their places; a plain path is a layer that serves one role."""
    assert places.keys() <= set(LINEAR_ROLES)
    return tuple(
        (role, Place(place) if isinstance(place, str) else place)
        for role in LINEAR_ROLES
        if (place := places.get(role)) is not None
    )


_BERT = roles_at(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    ffn_up="intermediate.dense",
    ffn_down="output.dense",
)
_LLAMA = roles_at(
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    attention_output="self_attn.o_proj",
    ffn_gate="mlp.gate_proj",
    ffn_up="mlp.up_proj",
    ffn_down="mlp.down_proj",
)
_VIT_ATTENTION = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "attention_output": "attention.o_proj",
}
_VIT = roles_at(**_VIT_ATTENTION, ffn_up="mlp.fc1", ffn_down="mlp.fc2")
_T5_ATTENTION = {
    "query": "layer.0.SelfAttention.q",
    "key": "layer.0.SelfAttention.k",
    "value": "layer.0.SelfAttention.v",
    "attention_output": "layer.0.SelfAttention.o",
    "ffn_down": "layer.1.DenseReluDense.wo",
}


def _bert_like(
    model_type: str,
    *,
    embeddings: str = "embeddings",
    pooler: bool = True,
    positions_after_padding: bool = False,
) -> Family:
    return Family(
        model_type=model_type,
        blocks="encoder.layer",
        roles=_BERT,
        embeddings=embeddings,
        attention="attention.self",
        unused=("pooler",) if pooler else (),
        positions_after_padding=positions_after_padding,
    )


def _llama_like(model_type: str) -> Family:
    return Family(
        model_type=model_type,
        blocks="layers",
        roles=_LLAMA,
        attention="self_attn",
        final_norm="norm",
        causal=True,
    )


FAMILIES = {
    family.model_type: family
    for family in (
        _bert_like("bert"),
        _bert_like("electra", embeddings="", pooler=False),  # may be narrower than the blocks
        _bert_like("roberta", positions_after_padding=True),
        _bert_like("xlm-roberta", positions_after_padding=True),
        _bert_like("camembert", positions_after_padding=True),
        Family(
            model_type="distilbert",
            blocks="transformer.layer",
            embeddings="embeddings",
            roles=roles_at(
                query="attention.q_lin",
                key="attention.k_lin",
                value="attention.v_lin",
                attention_output="attention.out_lin",
                ffn_up="ffn.lin1",
                ffn_down="ffn.lin2",
            ),
            attention="attention",
        ),
        Family(
            model_type="mpnet",
            blocks="encoder.layer",
            embeddings="embeddings",
            roles=roles_at(
                query="attention.attn.q",
                key="attention.attn.k",
                value="attention.attn.v",
                attention_output="attention.attn.o",
                ffn_up="intermediate.dense",
                ffn_down="output.dense",
            ),
            unused=("pooler",),
            positions_after_padding=True,
        ),
        Family(
            model_type="deberta-v2",
            blocks="encoder.layer",
            roles=roles_at(
                query="attention.self.query_proj",
                key="attention.self.key_proj",
                value="attention.self.value_proj",
                attention_output="attention.output.dense",
                ffn_up="intermediate.dense",
                ffn_down="output.dense",
            ),
            gathers_tokens=False,  # relative positions are counted inside the block
        ),
        Family(
            model_type="modernbert",
            blocks="layers",
            embeddings="embeddings",
            roles=roles_at(
                query=Place("attn.Wqkv", 0, 3),
                key=Place("attn.Wqkv", 1, 3),
                value=Place("attn.Wqkv", 2, 3),
                attention_output="attn.Wo",
                ffn_gate=Place("mlp.Wi", 0, 2),
                ffn_up=Place("mlp.Wi", 1, 2),
                ffn_down="mlp.Wo",
            ),
            attention="attn",
            final_norm="final_norm",
        ),
        Family(
            model_type="vit",
            blocks="layers",
            embeddings="embeddings",
            roles=_VIT,
            attention="attention",
            final_norm="layernorm",
            unused=("pooler",),
            modality="image",
        ),
        Family(
            model_type="dinov2",
            blocks="encoder.layer",
            embeddings="embeddings",
            roles=_VIT,
            other_roles=(
                roles_at(
                    **_VIT_ATTENTION,
                    ffn_gate="mlp.gate_proj",
                    ffn_up="mlp.up_proj",
                    ffn_down="mlp.down_proj",
                ),
            ),
            attention="attention",
            final_norm="layernorm",
            modality="image",
        ),
        Family(
            model_type="gpt2",
            blocks="h",
            roles=roles_at(
                query=Place("attn.c_attn", 0, 3),
                key=Place("attn.c_attn", 1, 3),
                value=Place("attn.c_attn", 2, 3),
                attention_output="attn.c_proj",
                ffn_up="mlp.c_fc",
                ffn_down="mlp.c_proj",
            ),
            attention="attn",
            final_norm="ln_f",
            causal=True,
        ),
        _llama_like("llama"),
        _llama_like("mistral"),
        _llama_like("qwen2"),
        _llama_like("qwen3"),
        _llama_like("gemma"),
        Family(
            model_type="t5",
            blocks="encoder.block",
            roles=roles_at(**_T5_ATTENTION, ffn_up="layer.1.DenseReluDense.wi"),
            other_roles=(
                roles_at(
                    **_T5_ATTENTION,
                    ffn_gate="layer.1.DenseReluDense.wi_0",
                    ffn_up="layer.1.DenseReluDense.wi_1",
                ),
            ),
            attention="layer.0.SelfAttention",
            final_norm="encoder.final_layer_norm",
            gathers_tokens=False,  # the first block counts positions, for all of them
        ),
    )
}
"""Families by transformers' `model_type`."""


def resolved(family: Family, model: nn.Module) -> Family:
    """Return a family with the roles of the variant that a model is of."""
    block = model.get_submodule(family.blocks).get_submodule("0")
    names = {name for name, _ in block.named_modules()}
    for roles in (family.roles, *family.other_roles):
        if {place.path for _, place in roles} <= names:
            return replace(family, roles=roles, other_roles=())
    raise AssertionError(f"no variant of {family.model_type!r} has the layers of this model")
