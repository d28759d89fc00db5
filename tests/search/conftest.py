"""A study file that is written, read and prepared, with changes."""

import pytest
import yaml

from search.context import prepare
from search.study_file import load_study_file
from space.errors import UserError
from tests.end_to_end.tiny_study import tiny_backbone, write_rows, write_study
from tests.search.finished_study import tracking_store
from tests.search.valid_study import VALID
from trainers.backbone import load_backbone


@pytest.fixture
def load(tmp_path):
    """Return a function that loads the valid study file with some of its keys changed."""

    def run(*overrides, drop=(), **changes):
        content = {key: value for key, value in (VALID | changes).items() if key not in drop}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return load_study_file(path, overrides)

    return run


@pytest.fixture
def problems(load, tmp_path):
    """Return a function that gives what is refused, each message without the file's name."""

    def run(*overrides, **changes):
        with pytest.raises(UserError) as caught:
            load(*overrides, **changes)
        prefix = f"{tmp_path / 'study.yaml'}: "
        found = list(caught.value.problems)
        assert all(line.startswith((prefix, "--set ")) for line in found), found
        return [line.removeprefix(prefix) for line in found]

    return run


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture(scope="session")
def loaded(backbone):
    return load_backbone(str(backbone))


@pytest.fixture
def context_of(tmp_path, backbone, loaded, monkeypatch):
    """Return a function that prepares a study of few rows and one epoch, with changes."""
    monkeypatch.setattr("search.context.load_backbone", lambda name, folder, task: loaded)
    write_rows(tmp_path / "rows.csv", 45)

    def run(*overrides, **changes):
        budget = {"trials": 5, "epochs": 1}
        path = write_study(tmp_path, **({"backbone": str(backbone), "budget": budget} | changes))
        study = load_study_file(path, overrides)
        return prepare(study, tmp_path, stage=lambda _: None)

    return run


@pytest.fixture
def uri(tmp_path, monkeypatch):
    """A new store; the working directory is empty and must stay so."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    folder = tmp_path / "store"
    folder.mkdir()
    yield tracking_store(folder)
    assert list(here.iterdir()) == []
