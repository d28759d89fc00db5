"""What a structure costs, in closed form: parameters and FLOPs before anything is trained.

FLOPs are 2 x multiply-accumulates (MACs) of the matrix products, per sample, at the real token
lengths of the data (no padding), in the form that would be deployed: what merges costs nothing.
Norms, activations and additions are not counted, as is usual (and as torch's own counter does).
"""

from dataclasses import dataclass

from space.kinds import KINDS
from space.roles import SUBLAYER_ENDS
from space.spec import Adapter, AdapterSpec

BYTES_PER_PARAM = 4  # adapters and head are stored in float32
GIGA = 1e9
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class TokenStats:
    """Token counts of a data set: linear layers cost their mean, attention their mean square."""

    mean: float
    mean_square: float


@dataclass(frozen=True, kw_only=True)
class BackboneShape:
    """What the cost of a structure depends on in a backbone; all blocks are alike."""

    n_layers: int
    width: int
    """Width of the hidden states that pass from block to block."""
    attention_width: int
    """Heads x head size: the width over which queries and keys are multiplied."""
    block_macs: int
    """MACs per token of all linear layers of one block."""
    role_shapes: tuple[tuple[str, tuple[int, int]], ...]
    """For each linear role that the backbone has: (role, (input width, output width))."""

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

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role that this backbone has, sub-layers last."""
        linear = tuple(role for role, _ in self.role_shapes)
        ends = SUBLAYER_ENDS.items()
        return linear + tuple(sub for sub, roles in ends if set(roles) <= set(linear))


def adapter_params(adapter: Adapter, shape: BackboneShape) -> int:
    """Return the trainable parameters of one adapter."""
    return KINDS[adapter.kind].n_params(*shape.widths(adapter.role), adapter.rank)


def adapter_macs(adapter: Adapter, shape: BackboneShape) -> int:
    """Return the MACs per token of one adapter that is not merged."""
    return KINDS[adapter.kind].macs(*shape.widths(adapter.role), adapter.rank)


def head_params(spec: AdapterSpec, shape: BackboneShape, n_outputs: int) -> int:
    """Return the parameters of pooling and linear head."""
    pooling = shape.width if spec.pooling == "attention" else 0
    return pooling + shape.width * n_outputs + n_outputs


def trainable_params(spec: AdapterSpec, shape: BackboneShape, n_outputs: int) -> int:
    """Return how many parameters are trained: all adapters, the pooling and the head."""
    adapters = sum(adapter_params(adapter, shape) for adapter in spec.adapters)
    return adapters + head_params(spec, shape, n_outputs)


def adapter_mib(spec: AdapterSpec, shape: BackboneShape, n_outputs: int) -> float:
    """Return the size of the trained weights in MiB (float32)."""
    return trainable_params(spec, shape, n_outputs) * BYTES_PER_PARAM / MIB


def _block_macs(shape: BackboneShape, tokens: TokenStats) -> float:
    return shape.block_macs * tokens.mean + _attention_macs(shape, tokens)


def _attention_macs(shape: BackboneShape, tokens: TokenStats) -> float:
    # queries x keys, then weights x values
    return 2 * shape.attention_width * tokens.mean_square


def _head_macs(
    spec: AdapterSpec, shape: BackboneShape, n_outputs: int, tokens: TokenStats
) -> float:
    # a score for each token, then the weighted sum of the tokens
    pooling = 2 * shape.width * tokens.mean if spec.pooling == "attention" else 0.0
    return pooling + shape.width * n_outputs


def inference_gflops(
    spec: AdapterSpec, shape: BackboneShape, n_outputs: int, tokens: TokenStats
) -> float:
    """Return the GFLOPs of one sample in the deployed form (mergeable adapters merged)."""
    macs = spec.depth * _block_macs(shape, tokens)
    for adapter in spec.adapters:
        if not KINDS[adapter.kind].mergeable:
            macs += adapter_macs(adapter, shape) * tokens.mean
    return 2 * (macs + _head_macs(spec, shape, n_outputs, tokens)) / GIGA


def training_gflops(
    spec: AdapterSpec, shape: BackboneShape, n_outputs: int, tokens: TokenStats
) -> float:
    """Return the GFLOPs of one training step per sample: forward and backward, unmerged.

    Backward runs from the head down to the first insertion layer: once through each frozen
    matrix (no weight gradients), twice through attention products, adapters and head. The
    lowest of these blocks is counted whole, which is at most one block too much.
    """
    adapters = sum(adapter_macs(adapter, shape) for adapter in spec.adapters) * tokens.mean
    trained = adapters + _head_macs(spec, shape, n_outputs, tokens)
    forward = spec.depth * _block_macs(shape, tokens)
    n_backward = spec.depth - spec.first_insertion_layer
    backward = n_backward * (_block_macs(shape, tokens) + _attention_macs(shape, tokens))
    return 2 * (forward + backward + 3 * trained) / GIGA
