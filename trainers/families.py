"""The table of backbone families: where in a model the blocks and their sub-modules are found.

A new family is one entry: attribute names, nothing else (the idea is adapter-hub's).
"""

from dataclasses import dataclass

from space.roles import LINEAR_ROLES


@dataclass(frozen=True, kw_only=True)
class Family:
    """Attribute names of one family of transformers models (its `model_type`)."""

    model_type: str
    blocks: str
    """Path of the list of blocks in the bare model."""
    roles: tuple[tuple[str, str], ...]
    """For each linear role its path inside a block."""
    unused: tuple[str, ...] = ()
    """Parts of the model behind the last block that are not run."""
    positions_after_padding: bool = False
    """Whether positions are counted from behind the id of padding, so that fewer are left."""


def _roles(*paths: str) -> tuple[tuple[str, str], ...]:
    return tuple(zip(LINEAR_ROLES, paths, strict=True))


_BERT_ROLES = _roles(
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)

FAMILIES = {
    family.model_type: family
    for family in (
        Family(model_type="bert", blocks="encoder.layer", roles=_BERT_ROLES, unused=("pooler",)),
        Family(
            model_type="roberta",
            blocks="encoder.layer",
            roles=_BERT_ROLES,
            unused=("pooler",),
            positions_after_padding=True,
        ),
        Family(
            model_type="distilbert",
            blocks="transformer.layer",
            roles=_roles(
                "attention.q_lin",
                "attention.k_lin",
                "attention.v_lin",
                "attention.out_lin",
                "ffn.lin1",
                "ffn.lin2",
            ),
        ),
    )
}
"""Families by transformers' `model_type`."""
