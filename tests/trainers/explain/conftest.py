"""A bundle with every kind of part, explained once."""

import pytest

from tests.trainers.explain.bundles import ALL_KINDS, write_lesson_bundle, write_rows
from trainers.bundle import load
from trainers.explain import explain, explained_rows


def silent(_doing, _done, _total):
    """Tells nobody."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tiny_backbones):
    place = tmp_path_factory.mktemp("explained")
    write_lesson_bundle(place / "bundle", "class", tiny_backbones["bert"], ALL_KINDS)
    write_rows(place, "class")
    return place


@pytest.fixture
def bundle(folder):
    """Loaded anew for each test, which may change it."""
    return load(folder / "bundle")


@pytest.fixture(scope="session")
def explained(folder):
    bundle = load(folder / "bundle")
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    return explain(bundle, rows, silent)
