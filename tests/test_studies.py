"""Every study file that is shipped: it is valid, and where its data are, it fits them."""

from pathlib import Path

import pytest

from search.context import prepare
from search.study_file import load_study_file
from space.default_space import problems_in

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_is_valid_and_named_as_its_file(path):
    study = load_study_file(path)
    assert study.name == path.stem
    assert study.budget.epochs >= 3


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_fits_its_data_and_backbone(path):
    study = load_study_file(path)
    if study.data.train is not None and not Path(study.data.train).exists():
        pytest.skip(f"its data are not at {study.data.train}")
    context = prepare(study, path.parent, stage=lambda _: None)
    assert problems_in(context.space, context.backbone.shape, context.cost.head) == []
    assert len(context.train) == study.data.rows
    assert set(context.validation.labels) <= set(range(len(context.data.labels)))
