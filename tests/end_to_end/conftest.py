"""A study that would run, and a command that must refuse it."""

import pytest
from click.testing import CliRunner

from search.cli import main
from tests.end_to_end.tiny_study import (
    listing,
    messages,
    tiny_backbone,
    write_rows,
    write_study,
)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture
def folder(tmp_path, backbone):
    """A folder with a study that would run."""
    write_rows(tmp_path / "rows.csv", 30)
    write_study(tmp_path, backbone=str(backbone))
    return tmp_path


@pytest.fixture
def refused(folder, backbone):
    """Return a function that gives the messages of a command, which must end with status 2."""

    def run(command="search", *words, place=folder, **changes):
        if changes:
            write_study(place, **({"backbone": str(backbone)} | changes))
        before = listing(place)
        arguments = words if command == "predict" else (place / "study.yaml", *words)
        result = CliRunner().invoke(main, [command, *map(str, arguments)])
        assert result.exit_code == 2, (result.output, result.exception)
        assert result.stdout == ""
        assert listing(place) == before
        found = messages(result.stderr)
        assert found
        return found

    return run
