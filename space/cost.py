"""What a structure costs, in closed form: parameters and FLOPs before anything is trained.

FLOPs are 2 x multiply-accumulates (MACs) of the matrix products, per sample, at the real token
lengths of the data (no padding), in the form that would be deployed: what merges costs nothing.
Norms, activations and additions are not counted, as is usual (and as torch's own counter does).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from space.adapter import Adapter, TokenSkip, n_kept
from space.kinds import KINDS, Site
from space.roles import SUBLAYER_ENDS
from space.spec import AdapterSpec

BYTES_PER_PARAM = 4  # adapters and head are stored in float32
GIGA = 1e9
MIB = 2**20

Ways = Callable[[int, int, int, int, int], str]
"""(input width, output width, rank, experts, top_k) -> how experts are computed on this machine:
`concatenated` (one product with all of them), or `grouped` or `looped` (the chosen ones only)."""

CONCATENATED = "concatenated"
GROUPED = "grouped"
GROUPED_STEP = 4
"""A grouped product wants matrices of a rank that this divides (16 bytes of float32)."""

POSITION_ROLES = ("query", "key")
"""Roles that DeBERTa's relative positions pass as well as the tokens."""


@dataclass(frozen=True, kw_only=True)
class TokenStats:
    """Token counts of a data set's rows."""

    histogram: tuple[tuple[int, int], ...]
    """(tokens of a row, how many rows have so many), shortest first."""

    @classmethod
    def of(cls, lengths: Iterable[int]) -> "TokenStats":
        """Count the lengths of rows, at least one."""
        return cls(histogram=tuple(sorted(Counter(map(int, lengths)).items())))

    @property
    def mean(self) -> float:
        """Mean number of tokens: what linear layers cost."""
        return self._mean(float)

    @property
    def mean_square(self) -> float:
        """Mean square of the number of tokens: what attention costs."""
        return self._mean(lambda length: float(length**2))

    def kept(self, token_keep: float) -> "TokenStats":
        """Return the counts of the tokens that run through a block which others pass by."""
        kept: Counter[int] = Counter()
        for length, n_rows in self.histogram:
            kept[n_kept(token_keep, length)] += n_rows
        return TokenStats(histogram=tuple(sorted(kept.items())))

    def _mean(self, of: Callable[[int], float]) -> float:
        n_rows = sum(count for _, count in self.histogram)
        return sum(of(length) * count for length, count in self.histogram) / n_rows


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """The head on top of the backbone."""

    n_outputs: int
    per_token: bool = False
    """Whether it answers for every token, and not for the row."""
    trained: bool = True
    """Whether it is trained; a language model's own head is not."""


@dataclass(frozen=True, kw_only=True)
class BackboneShape:
    """What the cost and the space of a structure depend on in a backbone; all blocks are alike."""

    n_layers: int
    width: int
    """Width of the hidden states that pass from block to block."""
    attention_width: int
    """Heads x head size: the width over which queries and keys are multiplied."""
    kv_width: int
    """Heads of keys x head size; less than the above where several queries share a key."""
    block_macs: int
    """MACs per token of all linear layers of one block."""
    role_shapes: tuple[tuple[str, tuple[int, int]], ...]
    """For each linear role that the backbone has: (role, (input width, output width))."""
    position_tokens: int = 0
    """Relative positions that each block computes queries and keys for, once a row (DeBERTa)."""
    embedding_macs: float = 0.0
    """MACs per token of what stands before the first block (patches, projections)."""
    causal: bool = False
    """Whether a token sees only those before it."""
    gathers_tokens: bool = True
    """Whether a block can run on a part of the tokens."""
    takes_prefix: bool = True
    """Whether its attention can be given learned keys and values."""

    def widths(self, role: str) -> tuple[int, int]:
        """Return (input width, output width) of a role, sub-layers included.

        Raises:
            KeyError: the backbone has no such role.
        """
        shapes = dict(self.role_shapes)
        if role in SUBLAYER_ENDS:
            first, last = SUBLAYER_ENDS[role]
            return shapes[first][0], shapes[last][1]
        return shapes[role]

    def site(self, role: str) -> Site:
        """Return all widths at a role. Raises KeyError as `widths` does."""
        d_in, d_out = self.widths(role)
        return Site(
            role=role,
            d_in=d_in,
            d_out=d_out,
            attention_width=self.attention_width,
            kv_width=self.kv_width,
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role that this backbone has, sub-layers last."""
        linear = tuple(role for role, _ in self.role_shapes)
        ends = SUBLAYER_ENDS.items()
        return linear + tuple(sub for sub, roles in ends if set(roles) <= set(linear))


def adapter_params(adapter: Adapter, shape: BackboneShape) -> int:
    """Return the trainable parameters of one adapter, its router included."""
    kind, site = KINDS[adapter.kind], shape.site(adapter.role)
    router = adapter.experts * kind.router_width(site) if adapter.experts > 1 else 0
    return adapter.experts * kind.n_params(site, adapter.rank or 0) + router


def skip_params(skip: TokenSkip, shape: BackboneShape) -> int:
    """Return the trainable parameters beside a block that tokens pass by: router and adapter."""
    return shape.width + 2 * skip.rank * shape.width + skip.rank + shape.width


def trainable_params(spec: AdapterSpec, shape: BackboneShape, head: HeadShape) -> int:
    """Return how many parameters of a structure are trained.

    Raises:
        KeyError: the backbone lacks a role.
    """
    adapters = sum(adapter_params(adapter, shape) for adapter in spec.adapters)
    skips = sum(skip_params(skip, shape) for skip in spec.skips)
    side = 0 if spec.side is None else spec.side.n_params(shape.width)
    heads = (1 + len(spec.exits)) * _head_params(spec, shape, head)
    return adapters + skips + side + heads


def _head_params(spec: AdapterSpec, shape: BackboneShape, head: HeadShape) -> int:
    if not head.trained:
        return 0
    pooling = shape.width if spec.pooling == "attention" else 0
    return pooling + shape.width * head.n_outputs + head.n_outputs


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """What structures cost on one backbone, for one task and one data set."""

    shape: BackboneShape
    head: HeadShape
    tokens: TokenStats
    ways: Ways
    """How this machine computes sparse experts."""

    def trainable_params(self, spec: AdapterSpec) -> int:
        """Return how many parameters are trained: adapters, routers, side, pooling and heads."""
        return trainable_params(spec, self.shape, self.head)

    def adapter_mib(self, spec: AdapterSpec) -> float:
        """Return the size of the trained weights in MiB (float32)."""
        return self.trainable_params(spec) * BYTES_PER_PARAM / MIB

    def inference_gflops(self, spec: AdapterSpec) -> float:
        """Return the GFLOPs of one sample in the deployed form (mergeable adapters merged).

        Of a structure with early exits it is the cost where no exit is taken: the most.
        """
        return self.gflops_behind(spec)[-1]

    def gflops_behind(self, spec: AdapterSpec) -> list[float]:
        """Return the GFLOPs of a sample that leaves at each exit, lowest first, and at the end."""
        macs = self.shape.embedding_macs * self.tokens.mean
        behind = []
        for layer in range(spec.depth):
            macs += self._layer_macs(spec, layer) + self._beside_macs(spec, layer)
            macs += self._deployed_macs(spec, layer)
            if layer + 1 == spec.depth and spec.side is not None:
                macs += spec.side.macs(self.shape.width) * self.tokens.mean
            if layer + 1 in (*spec.exits, spec.depth):
                macs += self._head_macs(spec)
                behind.append(2 * macs / GIGA)
        return behind

    def training_gflops(self, spec: AdapterSpec) -> float:
        """Return the GFLOPs of one training step per sample: forward and backward, unmerged.

        Backward runs from the head down to the first insertion layer, through none of the blocks
        where a side network stands beside them: once through each frozen
        matrix (no weight gradients), twice through attention products, adapters and heads. The
        lowest of these blocks is counted whole, which is at most one block too much.
        """
        backward = sum(
            self._layer_macs(spec, layer) + self._attention_macs(self._tokens_in(spec, layer))
            for layer in range(spec.first_insertion_layer, spec.depth)
        )
        if not self.head.trained:
            backward -= self._head_macs(spec)  # no gradient of a frozen matrix itself
        side = 0.0
        if spec.side is not None:
            side = spec.side.training_macs(self.shape.width) * self.tokens.mean
        return 2 * (self._frozen_macs(spec) + backward + 3 * self._trained_macs(spec) + side) / GIGA

    def forward_gflops(self, spec: AdapterSpec) -> float:
        """Return the GFLOPs of one sample forward as it is trained: unmerged, through all heads."""
        side = 0.0
        if spec.side is not None:
            side = spec.side.macs(self.shape.width) * self.tokens.mean
        return 2 * (self._frozen_macs(spec) + self._trained_macs(spec) + side) / GIGA

    def prefix_gflops(self, spec: AdapterSpec) -> float:
        """Return the GFLOPs of one sample through the frozen prefix: what its cache saves a pass.

        0.0 where the lowest block is trained: then nothing is cached.
        """
        cut = spec.first_insertion_layer
        return 2 * self._frozen_macs(AdapterSpec(depth=cut)) / GIGA if cut else 0.0

    def _frozen_macs(self, spec: AdapterSpec) -> float:
        """Return the MACs of all that is frozen: embeddings and blocks."""
        blocks = sum(self._layer_macs(spec, layer) for layer in range(spec.depth))
        return self.shape.embedding_macs * self.tokens.mean + blocks

    def _trained_macs(self, spec: AdapterSpec) -> float:
        """Return the MACs of all adapters, unmerged, and of all heads; without a side network."""
        heads = (1 + len(spec.exits)) * self._head_macs(spec)
        adapters = sum(
            self._adapter_macs(adapter, self._tokens_in(spec, adapter.layer))
            for adapter in spec.adapters
        )
        return heads + adapters + sum(self._beside_macs(spec, skip.layer) for skip in spec.skips)

    def _head_macs(self, spec: AdapterSpec) -> float:
        # a score for each token, then the weighted sum of the tokens
        pooling = 2 * self.shape.width * self.tokens.mean if spec.pooling == "attention" else 0.0
        answers = self.tokens.mean if self.head.per_token else 1
        return pooling + self.shape.width * self.head.n_outputs * answers

    def _tokens_in(self, spec: AdapterSpec, layer: int) -> TokenStats:
        skip = spec.skip_at(layer)
        return self.tokens if skip is None else self.tokens.kept(skip.token_keep)

    def _layer_macs(self, spec: AdapterSpec, layer: int) -> float:
        """Return the MACs of a frozen block."""
        tokens = self._tokens_in(spec, layer)
        macs = self.shape.block_macs * tokens.mean + self._attention_macs(tokens)
        for role in POSITION_ROLES:
            d_in, d_out = self.shape.widths(role) if self.shape.position_tokens else (0, 0)
            macs += self.shape.position_tokens * d_in * d_out
        return macs

    def _beside_macs(self, spec: AdapterSpec, layer: int) -> float:
        """Return the MACs of router and adapter beside a block that tokens pass by."""
        skip = spec.skip_at(layer)
        if skip is None:
            return 0.0
        return (1 + 2 * skip.rank) * self.shape.width * self.tokens.mean

    def _attention_macs(self, tokens: TokenStats) -> float:
        # queries x keys, then weights x values
        return 2 * self.shape.attention_width * tokens.mean_square

    def _deployed_macs(self, spec: AdapterSpec, layer: int) -> float:
        tokens = self._tokens_in(spec, layer)
        return sum(
            self._adapter_macs(adapter, tokens)
            for adapter in spec.adapters
            if adapter.layer == layer and not adapter.mergeable
        )

    def _adapter_macs(self, adapter: Adapter, tokens: TokenStats) -> float:
        """Return the MACs per row of one adapter that is not merged."""
        kind, site, rank = KINDS[adapter.kind], self.shape.site(adapter.role), adapter.rank or 0
        n_tokens = tokens.mean
        if adapter.role in POSITION_ROLES:
            n_tokens += self.shape.position_tokens
        macs = kind.macs(site, rank) * n_tokens
        if adapter.experts == 1:
            return macs
        width = kind.router_width(site)
        way = self.ways(width, site.d_out, rank, adapter.experts, adapter.top_k)
        routed = n_tokens if adapter.router == "token" else 1
        router = adapter.experts * width * routed
        if way == GROUPED:  # computes with the rank filled up, as trainers/expert_ways.py says
            macs = kind.macs(site, -(-rank // GROUPED_STEP) * GROUPED_STEP) * n_tokens
        if way != CONCATENATED:
            return adapter.top_k * macs + router
        biases = site.d_out * n_tokens if kind.biased else 0
        return adapter.experts * (macs + biases) + router
