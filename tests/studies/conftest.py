"""What the tests of the benchmarks share."""

import pytest

from studies.benchmarks.curves import curves_of
from tests.studies.synthetic import FACTS, made_up
from trainers.backbone import load_backbone


@pytest.fixture(scope="session")
def shape(tmp_path_factory):
    return load_backbone("minilm", tmp_path_factory.mktemp("none"), "text-classification").shape


@pytest.fixture(scope="session")
def whole_table(shape):
    return made_up(shape)


@pytest.fixture
def table(whole_table):
    return whole_table.copy()


@pytest.fixture(scope="session")
def curves(whole_table):
    """Of the first data set, searched on its first seed."""
    return curves_of(whole_table, {name: own["rows"] for name, own in FACTS["data"].items()})[0]
