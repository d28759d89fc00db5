"""`python -m trainers`, the progress that it tells, and the memory that it takes."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainers.test_bundle import config_for
from tests.trainers.tiny import WORDS, fill_randomly, structure
from tests.trainers.whole_bundle import write_whole
from trainers.__main__ import main
from trainers.bundle import LoadedBundle
from trainers.memory import peak_memory_mib, reset_peak_memory
from trainers.model import build
from trainers.predict import predict_file
from trainers.predicting.progress import RowProgress, in_line

ROOT = Path(__file__).parents[2]
LABELS = ("fruit", "tool", "größe")


@pytest.fixture(scope="module")
def bundle(tiny_backbones):
    backbone = tiny_backbones["bert"]
    spec = structure(1, (0,), {"query": "lora"})
    model = fill_randomly(build(backbone, spec, len(LABELS), seed=0))
    return LoadedBundle(config=config_for(backbone, spec), backbone=backbone, model=model)


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    write_whole(folder, bundle.config, bundle.model.trained_state())
    return folder


def write_rows(path, n_rows, extra=""):
    fruits = WORDS["fruit"]
    with path.open("w") as file:
        file.write("id,comment,extra\n")
        for row in range(n_rows):
            file.write(f"{row},the {fruits[row % 6]} is {'new ' * (row % 4)},{extra}\n")
    return path


class TestMain:
    def test_it_labels_a_file(self, folder, tmp_path, capsys):
        source = write_rows(tmp_path / "in.csv", 20)
        assert main([str(folder), "--input", str(source), "--output", f"{tmp_path}/out.jsonl"]) == 0
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == [str(place) for place in range(20)]
        assert {row["prediction"] for row in rows} <= set(LABELS)
        assert capsys.readouterr().out == f"20 rows are in {tmp_path}/out.jsonl.\n"

    def test_a_format_and_a_column_can_be_named(self, folder, tmp_path):
        (tmp_path / "in.csv").write_text("body\napple\n")
        words = [str(folder), "--input", f"{tmp_path}/in.csv", "--output", f"{tmp_path}/out"]
        assert main([*words, "--text", "body", "--format", "jsonl"]) == 0
        assert json.loads((tmp_path / "out").read_text())["body"] == "apple"

    def test_what_is_wrong_is_told_with_status_2(self, folder, tmp_path, capsys):
        source = write_rows(tmp_path / "in.csv", 2)
        words = ["--input", str(source), "--output", f"{tmp_path}/out.csv"]
        assert main([str(folder), *words, "--text", "nope"]) == 2
        assert capsys.readouterr().err.startswith("paradapt: --input ")
        assert main([f"{tmp_path}/gone", *words]) == 2
        assert "there is no such bundle" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]

    def test_an_interruption_in_the_middle_leaves_nothing(self, folder, tmp_path):
        source = write_rows(tmp_path / "in.csv", 300_000)
        command = [sys.executable, "-m", "trainers", folder, "--input", source]
        with subprocess.Popen(
            [*map(str, command), "--output", str(tmp_path / "out.csv")],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            deadline = time.monotonic() + 120
            while not any(p.stat().st_size > 10_000 for p in tmp_path.glob(".out.csv.*.partial")):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors.endswith("paradapt: interrupted; nothing was written.\n")
        assert "Traceback" not in errors
        assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]

    def test_a_disk_that_is_full_leaves_nothing(self, folder, tmp_path):
        """A limit on the size of files stands in for the disk: the same error from the system."""
        source = write_rows(tmp_path / "in.csv", 20_000)
        code = (
            "import resource, signal, sys; from trainers.__main__ import main\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            "for form in ('csv', 'jsonl', 'parquet'):\n"
            "    print(main([*sys.argv[1:], f'{sys.argv[3]}.{form}']))"
        )
        words = [folder, "--input", source, "--output"]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.stdout.split() == ["2", "2", "2"], done.stderr
        for form in ("csv", "jsonl", "parquet"):
            assert f"in.csv.{form}: cannot be written (" in done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


class TestProgress:
    def test_a_line_tells_rows_rate_and_time_left(self):
        assert in_line(500, 2000, 10) == "500 of 2,000 rows, 50 rows/s, about 30 s left"
        assert in_line(12_000, None, 10) == "12,000 rows, 1,200 rows/s"
        assert in_line(12, 10, 10) == "12 rows, 1.2 rows/s"  # the number was a guess
        assert in_line(0, 10, 0) == "0 of 10 rows"

    def test_elsewhere_than_on_a_terminal_lines_are_plain_and_few(self, monkeypatch):
        clock = iter([0.0, 0.0, *(0.5 * step for step in range(1, 41)), 400.0, 430.0, 461.0])
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        stream = io.StringIO()
        progress = RowProgress(stream)
        for step in range(44):
            progress.told(10 * step, 1000)
        lines = stream.getvalue().splitlines()
        assert lines[0] == "  100 of 1,000 rows, 20 rows/s, about 45 s left"
        assert len(lines) == 4 + 2 and "\r" not in stream.getvalue()

    def test_on_a_terminal_one_line_changes_and_goes(self, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        clock = iter(range(100))
        monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
        stream = Terminal()
        with RowProgress(stream) as progress:
            for step in range(4):
                progress.told(step, 10)
            progress.say("note: x")
        shown = re.sub(r"[^\r\n]*\r\x1b\[K", "", stream.getvalue())
        assert shown == "note: x\n"
        assert stream.getvalue().count("of 10 rows") == 3


def peaks_of(bundle, folder, n_rows, early, extra, form):
    """Return the peaks of resident memory when `early` rows are answered for, and at the end."""
    source = write_rows(folder / "in.csv", n_rows, extra)
    found = []

    def told(n_done, n_rows):
        if n_done >= early and not found:
            found.append(peak_memory_mib())

    reset_peak_memory()
    assert predict_file(bundle, source, folder / f"out.{form}", told=told) == n_rows
    return found[0], peak_memory_mib()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_is_flat(bundle, tmp_path, form):
    early, late = peaks_of(bundle, tmp_path, 50_000, 20_000, "x" * 2000, form)
    # The rows in between are 60 MB of text alone.
    assert late - early < 30


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_memory_is_flat_at_a_million_rows(bundle, tmp_path, form):
    early, late = peaks_of(bundle, tmp_path, 1_000_000, 50_000, "", form)
    assert late - early < 50
    assert late < 1536
    with (tmp_path / f"out.{form}").open("rb") as file:
        assert file.read(1)
