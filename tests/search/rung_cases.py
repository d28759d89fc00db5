"""Rungs of trials, and where each trial stands by the definition, in exact fractions."""

from fractions import Fraction

from hypothesis import strategies as st
from optuna.study import StudyDirection

MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


@st.composite
def rungs(draw, least=1):
    """A rung of trials with few different values, so that ties are common, and directions."""
    n_objectives = draw(st.integers(1, 3))
    vector = st.lists(st.integers(0, 5).map(float), min_size=n_objectives, max_size=n_objectives)
    numbers = st.integers(0, 99)
    rung = draw(st.dictionaries(numbers, vector, min_size=least, max_size=14))
    directions = st.lists(
        st.sampled_from([MAXIMIZE, MINIMIZE]), min_size=n_objectives, max_size=n_objectives
    )
    return rung, draw(directions)


def random_rung(random):
    """A rung of a seeded generator: two or three objectives, whole numbers, some of them equal."""
    n_objectives, greatest = random.choice([1, 2, 2, 3]), random.choice([3, 9, 99])
    rung = {
        number: [float(random.randint(0, greatest)) for _ in range(n_objectives)]
        for number in range(random.randint(1, 13))
    }
    return rung, [random.choice([MAXIMIZE, MINIMIZE]) for _ in range(n_objectives)]


def dominates(one, other, directions):
    better = [
        (a > b) - (a < b) if way == MAXIMIZE else (b > a) - (b < a)
        for a, b, way in zip(one, other, directions, strict=True)
    ]
    return min(better) >= 0 and max(better) > 0


def peeled(rung, directions):
    """Fronts by the definition: take the first away, again and again."""
    left, fronts, front = dict(rung), {}, 0
    while left:
        bare = [
            number
            for number, values in left.items()
            if not any(dominates(other, values, directions) for other in left.values())
        ]
        for number in bare:
            fronts[number] = front
            del left[number]
        front += 1
    return fronts


def places(rung, directions):
    """How many trials stand before each: by front, then spread, then objective by objective."""
    fronts = peeled(rung, directions)
    losses = {
        number: tuple(
            Fraction(-value if way == MAXIMIZE else value)
            for value, way in zip(values, directions, strict=True)
        )
        for number, values in rung.items()
    }
    keys = {}
    for number, own in losses.items():
        mates = {losses[other] for other in rung if fronts[other] == fronts[number]}
        keys[number] = (fronts[number], -_spread(own, mates, set(losses.values())), own)
    return {number: sum(other < own for other in keys.values()) for number, own in keys.items()}


def _spread(own, mates, everyone):
    """The gaps between a vector's neighbours on its front, as shares of what all span."""
    total = Fraction(0)
    for axis in range(len(own)):
        lined = sorted(mates, key=lambda loss: (loss[axis], loss))
        if lined[0][axis] == lined[-1][axis]:
            continue
        if own in (lined[0], lined[-1]):
            return float("inf")
        index = lined.index(own)
        span = max(loss[axis] for loss in everyone) - min(loss[axis] for loss in everyone)
        total += (lined[index + 1][axis] - lined[index - 1][axis]) / span
    return total
