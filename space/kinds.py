"""The table of adapter kinds: what each may serve, and what each costs.

A new kind is one entry here and one module in `trainers/adapters/`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from space.roles import LINEAR_ROLES, SUBLAYER_ROLES


@dataclass(frozen=True, kw_only=True)
class Site:
    """The widths at one role of a block, which is all that the size of an adapter depends on."""

    role: str
    d_in: int
    d_out: int
    attention_width: int
    """Heads of queries x head size."""
    kv_width: int
    """Heads of keys x head size: less than the above where several queries share a key."""


@dataclass(frozen=True, kw_only=True)
class AdapterKind:
    """One way to adapt a frozen sub-module."""

    name: str
    roles: tuple[str, ...]
    """Roles that an adapter of this kind can serve."""
    ranked: bool
    """Whether it has a rank."""
    scaled: bool
    """Whether its output is scaled by alpha and rank (and so has an alpha)."""
    sparse: bool
    """Whether it can be made of sparse experts."""
    mergeable: bool
    """Whether it folds into the frozen weight, and so costs nothing once deployed."""
    n_params: Callable[[Site, int], int]
    """(site, rank) -> trainable parameters; rank 0 where there is none."""
    macs: Callable[[Site, int], int]
    """(site, rank) -> multiply-accumulates per token, unmerged."""
    biased: bool = False
    """Whether its matrices have biases: with experts the chosen ones are added up by a product."""
    router_width: Callable[[Site], int] = lambda site: site.d_in
    """Width of what a router of its experts reads."""


def _two_matrices(site: Site, rank: int) -> int:
    return rank * (site.d_in + site.d_out)


def _two_matrices_and_biases(site: Site, rank: int) -> int:
    return _two_matrices(site, rank) + rank + site.d_out


def _serial_matrices(site: Site, rank: int) -> int:
    return 2 * rank * site.d_out


def _serial_matrices_and_biases(site: Site, rank: int) -> int:
    return _serial_matrices(site, rank) + rank + site.d_out


KINDS = {
    kind.name: kind
    for kind in (
        # Hu et al. 2021, arXiv 2106.09685.
        AdapterKind(
            name="lora",
            roles=LINEAR_ROLES,
            ranked=True,
            scaled=True,
            sparse=True,
            mergeable=True,
            n_params=_two_matrices,
            macs=_two_matrices,
        ),
        # Houlsby et al. 2019, arXiv 1902.00751: behind the sub-layer, so it reads d_out.
        AdapterKind(
            name="bottleneck",
            roles=SUBLAYER_ROLES,
            ranked=True,
            scaled=False,
            sparse=True,
            mergeable=False,
            n_params=_serial_matrices_and_biases,
            macs=_serial_matrices,
            biased=True,
            router_width=lambda site: site.d_out,
        ),
        # He et al. 2022, arXiv 2110.04366: beside the sub-layer, from its input to its output.
        AdapterKind(
            name="parallel",
            roles=SUBLAYER_ROLES,
            ranked=True,
            scaled=True,
            sparse=True,
            mergeable=False,
            n_params=_two_matrices_and_biases,
            macs=_two_matrices,
            biased=True,
        ),
        # Liu et al. 2022, arXiv 2205.05638: scales keys and values, and what ffn_down reads.
        AdapterKind(
            name="ia3",
            roles=("key", "value", "ffn_down"),
            ranked=False,
            scaled=False,
            sparse=False,
            mergeable=True,
            n_params=lambda site, _: site.d_in if site.role == "ffn_down" else site.d_out,
            macs=lambda _site, _rank: 0,
        ),
        # Li and Liang 2021, arXiv 2101.00190. Its rank is the number of learned keys and values:
        # a prefix is a low-rank addition of just this rank (He et al. 2022, arXiv 2110.04366).
        AdapterKind(
            name="prefix",
            roles=("attention",),
            ranked=True,
            scaled=False,
            sparse=False,
            mergeable=False,
            n_params=lambda site, rank: 2 * rank * site.kv_width,
            # queries x keys, then weights x values
            macs=lambda site, rank: 2 * rank * site.attention_width,
        ),
    )
}
"""Adapter kinds by name."""


def kinds_for(role: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `kinds` that can serve `role`, in the order given."""
    return tuple(kind for kind in kinds if kind in KINDS and role in KINDS[kind].roles)
