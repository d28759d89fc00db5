"""One adapter, and one layer whose tokens may pass by it: the parts of a structure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from space.errors import close_matches
from space.kinds import KINDS

SCALINGS: dict[str, Callable[[float, int], float]] = {
    "alpha/rank": lambda alpha, rank: alpha / rank,
    # Kalajdzievski 2023, arXiv 2312.03732: the size of the output does not shrink with the rank.
    "alpha/sqrt(rank)": lambda alpha, rank: alpha / math.sqrt(rank),
}
"""Rules for the factor on an adapter's output: (alpha, rank) -> factor."""

ROUTERS = ("token", "sequence")
"""What a router chooses experts for: each token by itself, or all tokens of a sequence alike."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One adapter at one role of one block.

    Raises:
        ValueError: an unknown kind, role, scaling or router, a kind that cannot serve the role,
            or a rank, an alpha or experts where the kind has none, or none where it has.
    """

    layer: int
    """Index of the block, from 0 (next to the embeddings)."""
    role: str
    kind: str
    rank: int | None = None
    """Low-rank size: for bottleneck and parallel adapters their inner width, for a prefix the
    number of its keys; None for kinds without."""
    alpha: float | None = None
    """The output is scaled by alpha and rank; None for kinds without a scale."""
    scaling: str = "alpha/rank"
    """The rule of that scale, one of SCALINGS."""
    experts: int = 1
    """Of how many like parts it consists."""
    top_k: int = 1
    """How many of these serve a token."""
    router: str | None = None
    """What the experts are chosen for, one of ROUTERS; None with one expert."""

    def __post_init__(self) -> None:
        _check_known("kind", self.kind, tuple(KINDS))
        kind = KINDS[self.kind]
        if self.role not in kind.roles:
            raise ValueError(
                f"A {self.kind} adapter serves {', '.join(kind.roles)}, but got {self.role!r}."
                + close_matches(self.role, kind.roles)
            )
        if self.layer < 0:
            raise ValueError(f"An adapter's layer is at least 0, but got {self.layer}.")
        if kind.ranked != (self.rank is not None):
            rule = "needs a rank" if kind.ranked else "has no rank"
            raise ValueError(f"A {self.kind} adapter {rule}, but got {self.rank}.")
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"An adapter's rank is at least 1, but got {self.rank}.")
        self._check_scale(kind.scaled)
        self._check_experts(kind.sparse)

    def _check_scale(self, scaled: bool) -> None:
        if scaled != (self.alpha is not None):
            rule = "needs an alpha" if scaled else "has no alpha"
            raise ValueError(f"A {self.kind} adapter {rule}, but got {self.alpha}.")
        _check_known("scaling", self.scaling, tuple(SCALINGS))
        if self.alpha is None:
            object.__setattr__(self, "scaling", "alpha/rank")  # one spelling for one structure
            return
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"An adapter's alpha is a number above 0, but got {self.alpha}.")
        object.__setattr__(self, "alpha", float(self.alpha))

    def _check_experts(self, sparse: bool) -> None:
        if self.experts < 1 or not 1 <= self.top_k <= self.experts:
            raise ValueError(
                f"top_k is 1 to experts, and experts at least 1, but got top_k {self.top_k} and"
                f" experts {self.experts}."
            )
        if self.experts > 1 and not sparse:
            raise ValueError(f"A {self.kind} adapter has no experts, but got {self.experts}.")
        if self.experts == 1 and self.router is not None:
            raise ValueError(f"One expert needs no router, but got {self.router!r}.")
        if self.experts > 1:
            _check_known("router", str(self.router), ROUTERS)

    @property
    def scale(self) -> float:
        """The factor on the adapter's output; 1 where there is no alpha."""
        if self.alpha is None or self.rank is None:
            return 1.0
        return SCALINGS[self.scaling](self.alpha, self.rank)

    @property
    def mergeable(self) -> bool:
        """Whether it folds into the frozen weight, and so costs nothing once deployed."""
        return KINDS[self.kind].mergeable and self.experts == 1


@dataclass(frozen=True, kw_only=True)
class TokenSkip:
    """A block that only a share of the tokens runs through, Lei et al. 2023 (arXiv 2304.04947).

    A router picks ceil(token_keep x tokens) of each row for the frozen block. All tokens, the
    others too, pass a parallel adapter from the block's input to its output.

    Raises:
        ValueError: a share that is not between 0 and 1, or a rank or layer out of range.
    """

    layer: int
    token_keep: float
    rank: int
    """Inner width of the adapter beside the block."""

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise ValueError(f"A layer is at least 0, but got {self.layer}.")
        if not 0 < self.token_keep < 1:
            raise ValueError(
                "token_keep of a block that tokens pass by is above 0 and below 1, but got"
                f" {self.token_keep}."
            )
        if self.rank < 1:
            raise ValueError(f"An adapter's rank is at least 1, but got {self.rank}.")

    def n_kept(self, n_tokens: int) -> int:
        """Return how many of a row's tokens run through the block: at least one."""
        return n_kept(self.token_keep, n_tokens)


def n_kept(token_keep: float, n_tokens: int) -> int:
    """Return ceil(token_keep x n_tokens), safe from the rounding of the product."""
    return max(1, math.ceil(round(token_keep * n_tokens, 6)))


def _check_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(
            f"An adapter's {what} is one of {', '.join(known)}, but got {name!r}."
            + close_matches(name, known)
        )
