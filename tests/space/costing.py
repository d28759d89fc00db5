"""What the tests of costs have in common: rows of texts, and structures in few words."""

from space.adapter import Adapter
from space.cost import CostModel, HeadShape, TokenStats
from space.kinds import KINDS
from space.spec import AdapterSpec
from tests.space.small import SHAPE

TOKENS = TokenStats.of([10, 0, 5, 5, 5])
"""Mean 5, mean square 35: a block costs 1000 x 5 + 2 x 8 x 35 = 5560 MACs."""


def cost_of(shape=SHAPE, tokens=TOKENS, way="looped", **head):
    """Return the cost model of a head of four outputs, all experts computed in one way."""
    head = HeadShape(n_outputs=4, **head)
    return CostModel(shape=shape, head=head, tokens=tokens, ways=lambda *_: way)


COST = cost_of()


def adapter(kind, role, rank=2, layer=0, **more):
    """Return an adapter that has a rank and an alpha where its kind has."""
    return Adapter(
        layer=layer,
        role=role,
        kind=kind,
        rank=rank if KINDS[kind].ranked else None,
        alpha=4.0 if KINDS[kind].scaled else None,
        **more,
    )


def spec(*adapters, depth=3, **more):
    """Return a structure with these adapters."""
    return AdapterSpec(depth=depth, adapters=adapters, **more)
