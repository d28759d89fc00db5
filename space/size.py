"""How many structures a space holds, counted without making them."""

from collections import Counter
from math import comb, prod

from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS
from space.kinds import KINDS, kinds_for
from space.search_space import GROUPS, SearchSpace
from space.side import SIDE


def n_structures(space: SearchSpace) -> int:
    """Return the number of different structures, the learning rate left aside."""
    return sum(
        len(set(space.pooling)) * (_n_beside(space, depth) + _n_in_blocks(space, depth))
        for depth in set(space.depth)
    )


def _n_beside(space: SearchSpace, depth: int) -> int:
    if SIDE not in space.kinds:
        return 0
    return len(set(space.side_width)) * _n_patterns(space.side_layers, depth)


def _n_in_blocks(space: SearchSpace, depth: int) -> int:
    if set(space.kinds) == {SIDE}:
        return 0
    exits = {EXIT_PATTERNS[name](depth) for name in space.exits}
    return _n_skips(space, depth) * len(exits) * (1 + _n_adapted(space, depth))


def _n_patterns(names: tuple[str, ...], depth: int) -> int:
    return len({tuple(PATTERNS[name](depth)) for name in names})


def _n_skips(space: SearchSpace, depth: int) -> int:
    shares = {share for share in space.token_keep if share < 1}
    n_sizes = _n_patterns(space.skip_layers, depth) * len(set(space.rank))
    return (1 in space.token_keep) + len(shares) * n_sizes


def _n_adapted(space: SearchSpace, depth: int) -> int:
    """Return how many ways there are to put adapters into so many blocks, at least one."""
    return sum(
        n_sets * (prod(1 + _n_at_role(space, role, n_places) for role in space.roles) - 1)
        for n_places, n_sets in _insertions(space, depth).items()
    )


def _n_at_role(space: SearchSpace, role: str, n_places: int) -> int:
    """Return the adapters that a role can have, with ranks that differ at so many places."""
    found = 0
    for name in kinds_for(role, space.kinds):
        kind = KINDS[name]
        sizes = len(set(space.rank)) ** n_places if kind.ranked else 1
        found += sizes * (_n_experts(space) if kind.sparse else 1)
    return found


def _n_experts(space: SearchSpace) -> int:
    sparse = {(n, min(n, k)) for n in space.experts if n > 1 for k in space.top_k}
    return (1 in space.experts) + len(sparse) * len(set(space.router))


def _insertions(space: SearchSpace, depth: int) -> Counter[int]:
    """Return, for each number of places that ranks may differ at, how many sets of layers."""
    if space.insertion == "free":
        return _free(space, depth)
    if space.insertion == "windows":
        tops = range(1, depth + 1)
        sets = {tuple(range(low, top)) for top in tops for low in range(top)}
    else:
        sets = {tuple(PATTERNS[name](depth)) for name in space.insertion}
    return Counter(len({space.rank_place("", layer) for layer in layers}) for layers in sets)


def _free(space: SearchSpace, depth: int) -> Counter[int]:
    """Count the sets of layers that are not empty: one of two for each block."""
    if space.stages[-1] == "layer":
        return Counter({n: comb(depth, n) for n in range(1, depth + 1)})
    if space.stages[-1] == "global":
        return Counter({1: 2**depth - 1})
    sizes = Counter(layer * len(GROUPS) // max(space.depth) for layer in range(depth))
    ways: Counter[int] = Counter({0: 1})
    for size in sizes.values():
        grown: Counter[int] = Counter()
        for n_places, n_sets in ways.items():
            grown[n_places] += n_sets
            grown[n_places + 1] += n_sets * (2**size - 1)
        ways = grown
    del ways[0]
    return ways
