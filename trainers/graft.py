"""Replace sub-modules in a view of a model, without touching the model.

Every trial has its own adapters, and all trials share one set of frozen weights: a view copies
only the modules on the path to what is replaced (their attribute tables, no tensors).
"""

import copy
from collections.abc import Mapping

from torch import nn


def graft(model: nn.Module, replacements: Mapping[str, nn.Module | None]) -> nn.Module:
    """Return a view of `model` in which the sub-modules at some paths are others.

    Args:
        model: left as it is; all its parameters and buffers are shared with the view.
        replacements: dotted path -> the new sub-module, or None to take it out.

    Raises:
        KeyError: there is no sub-module at a path.
    """
    deeper: dict[str, dict[str, nn.Module | None]] = {}
    view = copy.copy(model)
    view._modules = dict(model._modules)
    for path, new in replacements.items():
        name, _, rest = path.partition(".")
        if name not in view._modules:
            raise KeyError(f"{type(model).__name__} has no sub-module {name!r}.")
        if rest:
            deeper.setdefault(name, {})[rest] = new
        else:
            view._modules[name] = new
    for name, inner in deeper.items():
        child = view._modules[name]
        if child is None:
            raise KeyError(f"{type(model).__name__} has nothing at {name!r}.")
        view._modules[name] = graft(child, inner)
    return view
