"""The table of adapter kinds: what each may serve, and what each costs.

A new kind is one entry here and one module in `trainers/adapters/`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from space.roles import LINEAR_ROLES, SUBLAYER_ROLES


@dataclass(frozen=True, kw_only=True)
class AdapterKind:
    """One way to adapt a frozen sub-module."""

    name: str
    roles: tuple[str, ...]
    """Roles that an adapter of this kind can serve."""
    scaled: bool
    """Whether its output is scaled by alpha / rank (and so has an alpha)."""
    mergeable: bool
    """Whether it folds into the frozen weight, and so costs nothing once deployed."""
    n_params: Callable[[int, int, int], int]
    """(input width, output width, rank) -> trainable parameters."""
    macs: Callable[[int, int, int], int]
    """(input width, output width, rank) -> multiply-accumulates per token, unmerged."""


def _two_matrices(d_in: int, d_out: int, rank: int) -> int:
    return rank * (d_in + d_out)


def _two_matrices_and_biases(d_in: int, d_out: int, rank: int) -> int:
    return rank * (d_in + d_out) + rank + d_out


def _serial_matrices(_d_in: int, d_out: int, rank: int) -> int:
    return 2 * rank * d_out


def _serial_matrices_and_biases(d_in: int, d_out: int, rank: int) -> int:
    return _serial_matrices(d_in, d_out, rank) + rank + d_out


KINDS = {
    kind.name: kind
    for kind in (
        # Hu et al. 2021, arXiv 2106.09685.
        AdapterKind(
            name="lora",
            roles=LINEAR_ROLES,
            scaled=True,
            mergeable=True,
            n_params=_two_matrices,
            macs=_two_matrices,
        ),
        # Houlsby et al. 2019, arXiv 1902.00751: behind the sub-layer, so it reads d_out.
        AdapterKind(
            name="bottleneck",
            roles=SUBLAYER_ROLES,
            scaled=False,
            mergeable=False,
            n_params=_serial_matrices_and_biases,
            macs=_serial_matrices,
        ),
        # He et al. 2022, arXiv 2110.04366: beside the sub-layer, from its input to its output.
        AdapterKind(
            name="parallel",
            roles=SUBLAYER_ROLES,
            scaled=True,
            mergeable=False,
            n_params=_two_matrices_and_biases,
            macs=_two_matrices,
        ),
    )
}
"""Adapter kinds by name."""


def kinds_for(role: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `kinds` that can serve `role`, in the order given."""
    return tuple(kind for kind in kinds if role in KINDS[kind].roles)
