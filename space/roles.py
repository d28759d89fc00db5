"""Roles: the sub-modules of a transformer block that an adapter can serve."""

LINEAR_ROLES = (
    "query",
    "key",
    "value",
    "attention_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)
"""The linear layers of a block, in the order in which a token passes them. Only gated families
have `ffn_gate`: the projection whose activation multiplies that of `ffn_up`."""

SUBLAYER_ROLES = ("attention", "ffn")
"""The two sub-layers of a block: all between its input and the residual addition."""

ROLES = LINEAR_ROLES + SUBLAYER_ROLES
"""Every role, in canonical order."""

SUBLAYER_ENDS = {"attention": ("query", "attention_output"), "ffn": ("ffn_up", "ffn_down")}
"""For each sub-layer the linear role whose input, and the one whose output, is its own."""
