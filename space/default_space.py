"""The space that is searched where the study file names none, and what is wrong with a space."""

from collections.abc import Collection

from space.adapter import ROUTERS, SCALINGS
from space.cost import BackboneShape, HeadShape
from space.errors import close_matches
from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS
from space.kinds import KINDS, kinds_for
from space.roles import ROLES
from space.search_space import COARSE_TO_FINE, GRANULARITIES, FloatRange, SearchSpace
from space.side import SIDE, SPACE_KINDS
from space.spec import POOLINGS


def default_space(shape: BackboneShape, head: HeadShape) -> SearchSpace:
    """Return the space that is searched where the study file names none."""
    # In a causal backbone only the last token has seen all the others.
    pooling = ("mean", "last") if shape.causal else ("mean", "cls")
    return SearchSpace(
        depth=tuple(range(max(1, shape.n_layers // 2), shape.n_layers + 1)),
        insertion=("all", "upper_half", "upper_third", "last"),
        roles=shape.roles,
        kinds=_fitting_kinds(shape),
        granularity="global",
        rank=(2, 4, 8, 16, 32),
        alpha=16.0,
        scaling="alpha/rank",
        experts=(1,),
        top_k=(1,),
        router=("token",),
        token_keep=(1.0,),
        skip_layers=("upper_half",),
        exits=("none",),
        side_width=(32, 64, 96),
        side_layers=("all", "every_second", "upper_half"),
        pooling=("none",) if head.per_token else pooling,
        learning_rate=FloatRange(low=3e-4, high=1e-2, log=True),
        head_learning_rate=1e-2,
    )


_IN_BLOCKS = (
    "insertion",
    "roles",
    "rank",
    "granularity",
    "scaling",
    "experts",
    "top_k",
    "router",
    "token_keep",
    "skip_layers",
    "exits",
)
_BESIDE = ("side_width", "side_layers")


def keys_without_use(given: Collection[str], kinds: Collection[str]) -> list[str]:
    """Return which keys of the study file the kinds have no use for, one message a key.

    Args:
        given: the keys of `space` that the user set.
        kinds: of the space.
    """
    problems: list[str] = []
    if not set(kinds) <= set(SPACE_KINDS):
        return problems  # which is told of, and may be a slip in one of these
    if SIDE not in kinds:
        problems += [
            f"space.{key}: goes with the kind 'side', which space.kinds does not hold. Add it"
            " there, or leave the key out."
            for key in _BESIDE
            if key in given
        ]
    if set(kinds) == {SIDE}:
        problems += [
            f"space.{key}: goes with adapters in the blocks, and space.kinds holds 'side' alone:"
            " beside a side network all blocks are frozen and run whole. Add other kinds there,"
            " or leave the key out."
            for key in _IN_BLOCKS
            if key in given
        ]
    return problems


def _fitting_kinds(shape: BackboneShape) -> tuple[str, ...]:
    return tuple(kind for kind in KINDS if shape.takes_prefix or kind != "prefix")


def problems_in(space: SearchSpace, shape: BackboneShape, head: HeadShape) -> list[str]:
    """Return what in the space does not fit the backbone, the task or itself, one a problem.

    Messages begin with the key of the study file, such as `space.depth`.
    """
    problems = [
        f"space.{key}: {name!r} is unknown; the names are {', '.join(known)}."
        + close_matches(name, known)
        for key, names, known in (
            ("roles", space.roles, ROLES),
            ("kinds", space.kinds, SPACE_KINDS),
            ("pooling", space.pooling, POOLINGS),
            ("insertion", _pattern_names(space.insertion), tuple(PATTERNS)),
            ("skip_layers", space.skip_layers, tuple(PATTERNS)),
            ("exits", space.exits, tuple(EXIT_PATTERNS)),
            ("side_layers", space.side_layers, tuple(PATTERNS)),
            ("router", space.router, ROUTERS),
            ("scaling", (space.scaling,), tuple(SCALINGS)),
            ("granularity", (space.granularity,), (*GRANULARITIES, COARSE_TO_FINE)),
        )
        for name in names
        if name not in known
    ]
    problems += [
        f"space.roles: the backbone has no {role!r} in its blocks; it has {', '.join(shape.roles)}."
        for role in space.roles
        if role in ROLES and role not in shape.roles
    ]
    problems += [
        f"space.depth: {depth} is not possible; the backbone has {shape.n_layers} blocks,"
        f" so a depth is 1 to {shape.n_layers}."
        for depth in space.depth
        if not 1 <= depth <= shape.n_layers
    ]
    return problems or [*_not_offered(space, shape), *_wrong_for(space, head), *_unused(space)]


def _pattern_names(insertion: tuple[str, ...] | str) -> tuple[str, ...]:
    return () if isinstance(insertion, str) else insertion


def _not_offered(space: SearchSpace, shape: BackboneShape) -> list[str]:
    """Return what this backbone cannot do."""
    problems = []
    if "prefix" in space.kinds and not shape.takes_prefix:
        problems.append(
            "space.kinds: 'prefix' is not possible here: the attention of this backbone takes no"
            " learned keys and values. Leave it out."
        )
    if min(space.token_keep) < 1 and not shape.gathers_tokens:
        problems.append(
            f"space.token_keep: {min(space.token_keep)} is not possible here: the blocks of this"
            " backbone need all tokens at their places. Write [1.0] or leave the key out."
        )
    return problems


def _wrong_for(space: SearchSpace, head: HeadShape) -> list[str]:
    """Return what does not go with a task whose head answers for the row, or for every token."""
    problems = []
    wrong = [name for name in space.pooling if (name == "none") != head.per_token]
    if wrong:
        rule = "every token, so it is [none]" if head.per_token else "the row, so it needs one"
        problems.append(f"space.pooling: {wrong[0]!r} does not fit: this task answers for {rule}.")
    if head.per_token and set(space.exits) != {"none"}:
        problems.append(
            "space.exits: early exits need one answer a row; this task answers for every token."
            " Leave the key out."
        )
    if not head.trained:  # a language model's: nothing may look at tokens that come later
        if min(space.token_keep) < 1:
            problems.append(
                "space.token_keep: tokens are picked among all of a row, so that later ones would"
                " decide over earlier ones; with causal-lm write [1.0] or leave the key out."
            )
        if "sequence" in space.router and max(space.experts) > 1:
            problems.append(
                "space.router: 'sequence' looks at the whole row, and so at later tokens; with"
                " causal-lm write [token]."
            )
    return problems


def _unused(space: SearchSpace) -> list[str]:
    """Return kinds without a role and roles without a kind: they would be skipped silently."""
    in_blocks = [kind for kind in space.kinds if kind != SIDE]
    if not in_blocks:
        return []  # what stands in blocks is not asked for
    problems = [
        f"space.kinds: {kind!r} serves none of the roles given; it serves"
        f" {', '.join(KINDS[kind].roles)}. Add one of these to space.roles or leave the kind out."
        for kind in in_blocks
        if not set(KINDS[kind].roles) & set(space.roles)
    ]
    problems += [
        f"space.roles: {role!r} is served by none of the kinds given; it is served by"
        f" {', '.join(kinds_for(role, tuple(KINDS)))}. Add one of these to space.kinds or leave"
        " the role out."
        for role in space.roles
        if not kinds_for(role, space.kinds)
    ]
    if max(space.experts) > 1 and not any(KINDS[kind].sparse for kind in in_blocks):
        problems.append(
            f"space.experts: none of the kinds given ({', '.join(space.kinds)}) can be made of"
            " experts. Add lora, bottleneck or parallel, or write [1]."
        )
    if max(space.experts) > 1 and min(space.top_k) > max(space.experts):
        problems.append(
            f"space.top_k: {min(space.top_k)} is more than the {max(space.experts)} experts."
        )
    return problems
