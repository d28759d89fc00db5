"""The number of structures against all of them made and counted."""

import random
from dataclasses import replace
from itertools import product

import pytest

from space.search_space import SearchSpace
from space.size import n_structures
from tests.space.small import SPACE, RandomTrial


class Enumerate:
    """Answers with each value in turn: the first `path` answers are given, the rest are first."""

    def __init__(self, path):
        self.path = path
        self.n_choices = []

    def suggest_categorical(self, name, choices):
        place = len(self.n_choices)
        self.n_choices.append(len(choices))
        return choices[self.path[place] if place < len(self.path) else 0]

    def suggest_int(self, name, low, high):
        return self.suggest_categorical(name, range(low, high + 1))

    def suggest_float(self, name, low, high, *, log=False):
        return low


def all_structures(space: SearchSpace) -> set:
    found, path = set(), []
    while True:
        trial = Enumerate(path)
        found.add(space.sample(trial)[0])
        path = path + [0] * (len(trial.n_choices) - len(path))
        while path and path[-1] + 1 == trial.n_choices[len(path) - 1]:
            path.pop()
        if not path:
            return found
        path[-1] += 1


SMALL = replace(
    SPACE,
    depth=(1, 2, 3),
    roles=("query", "attention"),
    kinds=("lora", "bottleneck"),
    rank=(2, 4),
    pooling=("mean", "cls"),
)


@pytest.mark.parametrize("granularity", ["global", "group", "layer"])
@pytest.mark.parametrize("insertion", [("all", "last", "upper_half"), "windows", "free"], ids=str)
def test_every_structure_is_counted_once(granularity, insertion):
    space = replace(SMALL, granularity=granularity, insertion=insertion)
    assert n_structures(space) == len(all_structures(space))


@pytest.mark.parametrize(
    ("experts", "top_k", "router"),
    list(product([(1,), (2,), (1, 2)], [(1,), (1, 4)], [("token",)])),
)
def test_experts_are_counted(experts, top_k, router):
    space = replace(
        SMALL, roles=("query", "key"), kinds=("lora", "ia3"), depth=(2,), insertion=("last",)
    )
    space = replace(space, experts=experts, top_k=top_k, router=router)
    assert n_structures(space) == len(all_structures(space))


def test_skips_and_exits_are_counted():
    space = replace(
        SMALL,
        roles=("query",),
        kinds=("lora",),
        token_keep=(1.0, 0.5, 0.75),
        skip_layers=("upper_half", "last"),
        exits=("none", "middle", "thirds", "every"),
    )
    assert n_structures(space) == len(all_structures(space))


def test_a_trial_of_the_counted_space_is_one_of_them():
    assert SMALL.sample(RandomTrial(random.Random(0)))[0] in all_structures(SMALL)
