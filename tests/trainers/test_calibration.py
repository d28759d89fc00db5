"""The fastest way to compute experts: measured once, kept, and no broken file is in the way."""

import json

import pytest

from trainers import calibration
from trainers.expert_ways import WAYS
from trainers.measured import machine

SIZE = (16, 16, 4, 4, 2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calibration.fastest_way.cache_clear()
    yield
    calibration.fastest_way.cache_clear()


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurement; return the sizes that were asked for."""
    asked = []

    def measure(size):
        asked.append(size)
        return measure.times

    measure.times = {"concatenated": 1.0, "grouped": 2.0, "looped": 3.0}
    monkeypatch.setattr(calibration, "measure", measure)
    return asked, measure


def test_every_way_is_timed():
    times = calibration.measure(SIZE, n_tokens=64)
    assert times.keys() == WAYS.keys()
    assert all(ms > 0 for ms in times.values())


@pytest.mark.parametrize(
    ("times", "fastest"),
    [
        ((1.0, 2.0, 3.0), "concatenated"),
        ((2.0, 1.0, 3.0), "grouped"),
        ((2.0, 3.0, 1.0), "looped"),
        ((1.04, 1.0, 1.0), "concatenated"),  # a near tie goes to the earlier one
        ((1.2, 1.04, 1.0), "grouped"),
    ],
)
def test_the_fastest_is_taken(measured, times, fastest):
    _, measure = measured
    measure.times = dict(zip(WAYS, times, strict=True))
    assert calibration.ways()(*SIZE) == fastest


def test_a_size_is_measured_once_in_a_process(measured):
    asked, _ = measured
    assert calibration.fastest_way(*SIZE) == calibration.fastest_way(*SIZE)
    assert asked == [SIZE]


def test_what_was_measured_is_kept_for_the_next_process(measured, tmp_path):
    asked, measure = measured
    calibration.fastest_way(*SIZE)
    calibration.fastest_way.cache_clear()
    measure.times = {"concatenated": 9.0, "grouped": 1.0, "looped": 9.0}
    assert calibration.fastest_way(*SIZE) == "concatenated"
    assert asked == [SIZE]
    (kept,) = json.loads((tmp_path / "paradapt" / "expert-ways.json").read_text()).values()
    assert kept == {"16 16 4 4 2": "concatenated"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"machine": 3}', "\xff"],
    ids=["empty", "cut", "list", "other", "bytes"],
)
def test_a_broken_file_is_measured_anew(measured, tmp_path, text):
    path = tmp_path / "paradapt" / "expert-ways.json"
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    assert calibration.fastest_way(*SIZE) == "concatenated"
    assert json.loads(path.read_text())


def test_an_unknown_way_in_the_file_is_measured_anew(measured, tmp_path):
    asked, _ = measured
    path = tmp_path / "paradapt" / "expert-ways.json"
    path.parent.mkdir()
    path.write_text(json.dumps({machine(): {"16 16 4 4 2": "magic"}}))
    assert calibration.fastest_way(*SIZE) == "concatenated"
    assert asked == [SIZE]


def test_a_folder_that_cannot_be_made_is_no_error(measured, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert calibration.fastest_way(*SIZE) == "concatenated"


def test_a_user_without_a_home_folder_is_no_error(measured, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("trainers.measured.Path.home", no_home)
    assert calibration.fastest_way(*SIZE) == "concatenated"


def test_another_machines_measurement_is_kept_and_not_used(measured, tmp_path):
    path = tmp_path / "paradapt" / "expert-ways.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"an abacus": {"16 16 4 4 2": "looped"}}))
    assert calibration.fastest_way(*SIZE) == "concatenated"
    kept = json.loads(path.read_text())
    assert kept["an abacus"] == {"16 16 4 4 2": "looped"}
    assert kept[machine()] == {"16 16 4 4 2": "concatenated"}


def test_processes_that_measure_at_once_agree_on_the_first(monkeypatch):
    times = dict(zip(WAYS, (1.0, 2.0, 3.0), strict=True))

    def measure(size):
        calibration.MEASURED.keep(" ".join(map(str, size)), "looped")  # as another process would
        return times

    monkeypatch.setattr(calibration, "measure", measure)
    assert calibration.fastest_way(*SIZE) == "looped"


def test_where_all_experts_are_chosen_nothing_is_measured(measured):
    asked, measure = measured
    measure.times = {"concatenated": 9.0, "grouped": 1.0, "looped": 9.0}
    assert calibration.fastest_way(16, 16, 4, 4, 4) == "concatenated"
    assert asked == []


def test_nothing_is_left_beside_the_file(measured, tmp_path):
    calibration.fastest_way(*SIZE)
    assert [path.name for path in (tmp_path / "paradapt").iterdir()] == ["expert-ways.json"]
