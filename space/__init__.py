"""WHAT can be built: a structure as data, the space of structures, and their cost.

Nothing here imports torch, Optuna or the other two packages, so that a structure can be read,
compared and costed anywhere, also where nothing can be trained.
"""

from space.adapter import Adapter, TokenSkip
from space.cost import BackboneShape, CostModel, HeadShape, TokenStats
from space.default_space import default_space
from space.errors import TrialError, UserError
from space.search_space import FloatRange, Learning, SearchSpace
from space.spec import AdapterSpec

__all__ = [
    "Adapter",
    "AdapterSpec",
    "BackboneShape",
    "CostModel",
    "FloatRange",
    "HeadShape",
    "Learning",
    "SearchSpace",
    "TokenSkip",
    "TokenStats",
    "TrialError",
    "UserError",
    "default_space",
]
