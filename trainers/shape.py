"""Read a backbone's widths from the live model, so that the cost follows what really runs."""

from typing import Any

from torch import nn

from space.cost import BackboneShape
from space.errors import UserError
from trainers.families import Family
from trainers.image_input import ImageInput
from trainers.matching import linear_layers, widths


def measure_shape(
    name: str, model: nn.Module, family: Family, image: ImageInput | None = None
) -> BackboneShape:
    """Return what the cost depends on.

    Args:
        name: of the backbone, for messages.
        model: the bare model.
        family: where its sub-modules are.
        image: what images it reads; None where it reads text.

    Raises:
        UserError: its blocks differ in their widths.
    """
    blocks = model.get_submodule(family.blocks)
    assert isinstance(blocks, nn.ModuleList)
    per_block = [_block_shape(block, family) for block in blocks]
    if any(block != per_block[0] for block in per_block):
        raise UserError(f"backbone: the blocks of {name!r} differ in their widths; unsupported.")
    role_shapes, block_macs = per_block[0]
    shapes = dict(role_shapes)
    attention_width = shapes["query"][1]
    n_positions = _position_tokens(name, model.config)
    return BackboneShape(
        n_layers=len(blocks),
        width=shapes["attention_output"][1],
        attention_width=attention_width,
        kv_width=shapes["value"][1],
        # Each token is compared with all relative positions, as query and as key.
        block_macs=block_macs + 2 * n_positions * attention_width,
        role_shapes=role_shapes,
        position_tokens=n_positions,
        embedding_macs=_embedding_macs(model, family, image),
        causal=family.causal,
        gathers_tokens=family.gathers_tokens,
        takes_prefix=bool(family.attention),
    )


def _block_shape(
    block: nn.Module, family: Family
) -> tuple[tuple[tuple[str, tuple[int, int]], ...], int]:
    role_shapes = []
    for role, place in family.roles:
        d_in, d_out = widths(block.get_submodule(place.path))
        role_shapes.append((role, (d_in, d_out // place.n_parts)))
    layers = (widths(layer) for _, layer in linear_layers(block))
    return tuple(role_shapes), sum(d_in * d_out for d_in, d_out in layers)


def _position_tokens(name: str, config: Any) -> int:
    """Return how many relative positions DeBERTa computes queries and keys for, in every block."""
    if not getattr(config, "relative_attention", False):
        return 0
    if not config.share_att_key or set(config.pos_att_type) != {"c2p", "p2c"}:
        raise UserError(
            f"backbone: {name!r} has relative attention of another kind than DeBERTa-v3's"
            " (share_att_key, pos_att_type c2p and p2c); unsupported."
        )
    span = config.max_relative_positions
    if span < 1:
        span = config.max_position_embeddings
    return 2 * int(config.position_buckets if config.position_buckets > 0 else span)


def _embedding_macs(model: nn.Module, family: Family, image: ImageInput | None) -> float:
    """Return the MACs per token of what stands before the blocks or between them."""
    macs = 0.0
    apart = (family.blocks, *family.unused)
    for path, module in model.named_modules():
        if path.startswith(tuple(f"{part}." for part in apart)):
            continue
        if isinstance(module, (nn.Linear, nn.Conv1d)):  # the latter in large DeBERTa-v2 models
            macs += module.weight.numel()
        elif isinstance(module, nn.Conv2d) and image is not None:
            # The tokens beside the patches have no product.
            n_patches = image.n_tokens - family.beside_patches
            macs += module.weight.numel() * n_patches / image.n_tokens
    return macs
