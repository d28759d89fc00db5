"""No password of any URL is in what the commands write or say: all of it is searched.

One real study on PostgreSQL, tracked by a real MLflow server, each with a password; then every
command on it, and the errors of each kind of address. What was written is read back as bytes: the
study's folder, the cache, MLflow's store, and a dump of the whole database.
"""

import base64
import gc
import os
import socket
import subprocess
import warnings
from contextlib import closing, contextmanager
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from search.cli import main
from search.ui import running_ui
from studies.scale.postgres import USER, programs, running_postgres
from tests.end_to_end.tiny_study import COMMAND, tiny_backbone, write_rows, write_study
from tests.search.finished_study import tracking_store

pytestmark = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")

STORAGE, TRACKING = "St0/r@ge:Geheim", "Tr4ck+Geheim"
OTHERS = ("Qu3ryGeheim", "Pr0xyGeheim", "HubGeheim", "T0kenGeheim", "M1flowGeheim", "Wr0ng/Geheim")
QUERY, PROXY, HUB, TOKEN, MLFLOW, WRONG = OTHERS


def spellings(secret):
    """A secret as it may be written: as it is, in a URL, in Base64 at each of three places."""
    inner = [base64.b64encode(b"x" * n + secret.encode())[4:-4].decode() for n in (1, 2, 3)]
    return {secret, quote(secret, safe=""), quote(secret), *inner}


NEEDLES = {
    needle.encode(): secret
    for secret in (STORAGE, TRACKING, *OTHERS)
    for needle in spellings(secret)
}


def leaks(text):
    return {secret for needle, secret in NEEDLES.items() if needle in text}


def closed_port():
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@contextmanager
def captured(path):
    """Send all that this process and its children write to its two outputs to a file."""
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("ab") as file:
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)


class Place:
    """A study whose storage and tracking have passwords, and all that its commands said."""

    def __init__(self, folder, port, server):
        self.folder, self.log, self.port = folder, folder / "said.log", port
        self.storage = (
            f"postgresql+psycopg://{USER}:{quote(STORAGE, safe='')}@127.0.0.1:{port}/postgres"
        )
        self.tracking = server.replace("http://", f"http://me:{quote(TRACKING, safe='')}@")

    def run(self, command, *words, status=0, **overrides):
        sets = [w for key, value in overrides.items() for w in ("--set", f"{key}={value}")]
        study = [] if command in ("explain", "predict") else [str(self.folder / "study.yaml")]
        with captured(self.log):
            result = CliRunner().invoke(main, [command, *study, *map(str, words), *sets])
        with warnings.catch_warnings():
            # A command ends with its process; here its connections are left to the collector.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        assert result.exit_code == status, (result.output, result.exception)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(result.output)
        assert not leaks(result.output.encode())
        return result.output


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    variables = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HTTP_PROXY": f"http://me:{PROXY}@127.0.0.1:9",
        "HTTPS_PROXY": f"http://me:{PROXY}@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "HF_TOKEN": TOKEN,
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": MLFLOW,
    }
    (folder / "server").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        store = tracking_store(folder / "server")
        with running_postgres(STORAGE, durable=False) as port, running_ui(store, "x") as (url, _):
            tiny_backbone(folder / "tiny")
            write_rows(folder / "rows.csv", 60)
            write_rows(folder / "test.csv", 30, seed=1)
            found = Place(folder, port, url)
            write_study(
                folder,
                backbone="tiny",
                data={"train": "rows.csv", "test": "test.csv", "max_length": 32},
                budget={"trials": 3, "epochs": 1},
                baselines=["head_only"],
                storage=found.storage,
                tracking=found.tracking,
                artifacts="weights",
            )
            yield found


@pytest.fixture(scope="module")
def used(place):
    """The study after every command that writes something."""
    place.run("search")
    bundle = place.folder / "bundle"
    place.run("search", "--dry-run")
    assert '"trained": 3' in place.run("status", "--json")
    place.run("status")
    assert "127.0.0.1" in place.run("ui")
    place.run("export", "--select", "knee", "--output", bundle)
    for form in ("html", "markdown"):
        place.run("report", "--format", form, "--output", place.folder / f"report.{form}")
    place.run("confirm", "--seeds", 1, "--select", "knee", "--no-full-fine-tuning", "--json")
    rows, page = place.folder / "test.csv", place.folder / "explain.html"
    study = ("--study", place.folder / "study.yaml")
    place.run("explain", bundle, "--data", rows, "--rows", 6, "--output", page, *study)
    place.run("predict", bundle, "--input", rows, "--output", place.folder / "out.csv")
    return place


def test_no_file_holds_a_secret(used):
    files = [path for path in used.folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    wanted = {
        "config.yaml",
        "report.html",
        "report.markdown",
        "explain.html",
        "adapter.safetensors",
    }
    assert wanted | {"pareto.html", "confirm.md", "study.yaml", "said.log", "mlflow.db"} <= names
    found = {str(path): leaks(path.read_bytes()) for path in files}
    # The study file is the user's own; the copy in MLflow has another content.
    assert found.pop(str(used.folder / "study.yaml")) == {STORAGE, TRACKING}
    assert not {path: secrets for path, secrets in found.items() if secrets}


def test_the_databases_hold_no_secret(used):
    dump = subprocess.run(
        [programs() / "pg_dump", "-h", "127.0.0.1", "-p", str(used.port), "-U", USER, "postgres"],
        env={**os.environ, "PGPASSWORD": STORAGE},
        capture_output=True,
        timeout=60,
    )
    assert dump.returncode == 0, dump.stderr
    assert b"study_file" in dump.stdout and b"***@127.0.0.1" in dump.stdout
    assert leaks(dump.stdout) == set()


def test_what_was_written_still_says_where_the_study_is(used):
    config = (used.folder / "bundle" / "config.yaml").read_text(encoding="utf-8")
    assert f"postgresql+psycopg://***@127.0.0.1:{used.port}/postgres" in config


WRONG_URL = quote(WRONG, safe="")


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql+psycopg://" + USER + ":{wrong}@127.0.0.1:{port}/postgres",
        "postgresql+psycopg://" + USER + "@127.0.0.1:{port}/postgres?password={wrong}",
        "postgresql+psycopg://" + USER + ":{wrong}@127.0.0.1:{closed}/postgres",
        "postgresql+psycopg://" + USER + ":{wrong}@127.0.0.1:{port}/postgres?passwd={wrong}",
        "postgresql+psycopg://" + USER + ":{wrong}@no-such-host.invalid/postgres",
        "postgresql+psycopg://" + USER + ":{wrong}@127.0.0.1:port/postgres",
        "mysql://me@127.0.0.1/a?passwd={wrong};sslkey=b",
        "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D{wrong}%3BSERVER%3Da",
        "foo://me:{wrong}@127.0.0.1/a",
        "me:{wrong}@127.0.0.1",
    ],
)
def test_a_storage_that_cannot_be_opened(place, storage):
    url = storage.format(wrong=WRONG_URL, port=place.port, closed=closed_port())
    assert "storage: " in place.run("status", status=2, storage=url)


def test_a_storage_whose_password_is_wrong_ends_a_search(place):
    url = f"postgresql+psycopg://{USER}:{WRONG_URL}@127.0.0.1:{place.port}/postgres"
    said = place.run("search", status=2, storage=url)
    assert "storage: postgresql+psycopg://***@127.0.0.1" in said and "authentication" in said


@pytest.mark.parametrize(
    "override",
    [
        "tracking=ftp://me:{wrong}@127.0.0.1",
        "tracking=postgresql://me:{wrong}@127.0.0.1/a?password={wrong}",
        "storage=http://me:{wrong} {wrong}@127.0.0.1",
        "traking=http://me:{wrong}@127.0.0.1",
        "budget.http://me:{wrong}@127.0.0.1=1",
        "backbone=http://me:{wrong}@127.0.0.1/model",
        "data.train=https://me:{wrong}@127.0.0.1/rows.csv",
        "data.source=https://127.0.0.1/rows.csv?sig={wrong}",
        "storage=[postgresql://me:{wrong}@127.0.0.1/a",
        "storage=[postgresql://me:{wrong}@127.0.0.1/a]",
        "name=http://me:{wrong}@127.0.0.1",
    ],
)
def test_a_key_that_is_refused(place, override):
    place.run("search", "--set", override.format(wrong=WRONG_URL), status=2)


def test_a_server_that_is_down(used):
    dead = f"http://me:{WRONG_URL}@127.0.0.1:{closed_port()}"
    assert "does not answer" in used.run("ui", status=2, tracking=dead)
    said = used.run("search", tracking=dead)
    assert "Tracking at http://***@127.0.0.1" in said and "not complete" in said
    used.run("export", "--select", "knee", "--output", used.folder / "again", tracking=dead)
    used.run("confirm", "--seeds", 1, "--select", "knee", "--no-full-fine-tuning", tracking=dead)


def test_a_hub_that_is_down(place, monkeypatch):
    """In a process of its own: the hub's address is read once, when its client is imported."""
    done = subprocess.run(
        [COMMAND, "search", place.folder / "study.yaml", "--set", "backbone=someone/something"],
        env={**os.environ, "HF_ENDPOINT": f"http://me:{HUB}@127.0.0.1:{closed_port()}"},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 2 and b"backbone" in done.stderr
    assert leaks(done.stdout + done.stderr) == set()


def test_a_fault_of_ours_is_told_without_passwords(place, monkeypatch):
    def broken(study, *_):
        raise RuntimeError(f"no answer from {study.storage} {study.tracking}?token={WRONG_URL}")

    monkeypatch.setattr("search.run.prepare", broken)
    said = place.run("search", status=1)
    assert "Traceback" in said and "RuntimeError: no answer from postgresql+psycopg://***@" in said
