"""WHAT can be built: a structure as data, the space of structures, and their cost.

Nothing here imports torch, Optuna or the other two packages, so that a structure can be read,
compared and costed anywhere, also where nothing can be trained.
"""

from space.cost import BackboneShape, TokenStats
from space.errors import TrialError, UserError
from space.search_space import FloatRange, Learning, SearchSpace, default_space
from space.spec import Adapter, AdapterSpec

__all__ = [
    "Adapter",
    "AdapterSpec",
    "BackboneShape",
    "FloatRange",
    "Learning",
    "SearchSpace",
    "TokenStats",
    "TrialError",
    "UserError",
    "default_space",
]
