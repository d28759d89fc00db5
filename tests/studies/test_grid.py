"""The grid of the tabular benchmark: what is in it, and that samplers cannot leave it."""

from pathlib import Path

import optuna
import pytest

from search.context import prepare
from search.study_file import load_study_file
from space.replay import params_for
from studies.benchmarks.grid import grid_points, point_of, sample
from studies.benchmarks.trainings import (
    DATA_SETS,
    EPOCHS,
    FOLDER,
    POINTS,
    SEEDS,
    nearest_point,
    trainings_of_part,
)


def test_it_has_more_than_300_structures_and_none_twice():
    texts = [point.spec.to_json() for point in grid_points()]
    assert len(texts) == len(set(texts)) == 315


def test_every_structure_is_made_of_its_parameters():
    for point in grid_points():
        assert point_of(point.params) == point


def test_whatever_a_sampler_answers_is_in_the_grid():
    inside = {point.spec: point.learning for point in grid_points()}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(1000):
        spec, learning = sample(study.ask())
        assert inside[spec] == learning
        seen.add(spec)
    assert len(seen) > 200


def test_a_parameter_that_is_missing_is_an_error():
    with pytest.raises(KeyError, match="rank"):
        point_of({"depth": 2, "insertion": "last", "kind": "prefix"})


@pytest.mark.parametrize("name", DATA_SETS)
class TestStudyFile:
    def test_it_is_valid_and_as_long_as_the_trainings(self, name):
        study = load_study_file(FOLDER / f"{name}.yaml")
        assert (study.name, study.budget.epochs, study.data.rows) == (name, EPOCHS, 1000)

    def test_its_space_holds_every_structure(self, name):
        study = load_study_file(FOLDER / f"{name}.yaml")
        if study.data.train is not None and not Path(study.data.train).exists():
            pytest.skip(f"its data are not at {study.data.train}")
        context = prepare(study, FOLDER, lambda _: None)
        assert len(context.train) == 1000
        assert len(context.validation) == 500
        for point in grid_points():
            assert params_for(context.space, point.spec, point.learning) is not None


class TestTrainings:
    def test_the_parts_are_all_trainings_once(self):
        keys = [training.key for part in range(3) for training in trainings_of_part(part, 3)]
        assert len(keys) == len(set(keys)) == len(grid_points()) * len(DATA_SETS) * len(SEEDS)

    def test_a_structure_is_trained_whole_before_the_next_begins(self):
        trainings = trainings_of_part(0, 2)
        assert trainings == trainings_of_part(0, 2)
        for first in range(0, len(trainings), 4):
            own = trainings[first : first + 4]
            assert len({training.point.spec for training in own}) == 1
            assert len({(training.data, training.seed) for training in own}) == 4

    def test_a_report_stands_for_the_point_next_to_it(self):
        assert nearest_point(11 / 32) == POINTS[0]
        assert nearest_point(2) == 2.0
        with pytest.raises(ValueError, match=r"1\.5"):
            nearest_point(1.5)
