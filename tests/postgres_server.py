"""A PostgreSQL server for tests: on loopback, in a folder of its own, gone afterwards."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER, PASSWORD = "paradapt", "not-a-secret"
UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `stop` and `start` are what a restart is made of."""

    programs: Path
    data: Path
    port: int
    user: str | None
    """Of the system, whom the server runs as; None: who runs the tests."""

    @property
    def url(self):
        """The storage URL of its one database."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
        options += "-c fsync=off -c log_min_messages=fatal"
        log = self.data / "server.log"
        self.run("pg_ctl", "-D", self.data, "-w", "-l", log, "-o", options, "start")

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def run(self, program, *words):
        done = subprocess.run(
            [self.programs / program, *map(str, words)],
            user=self.user,
            cwd=self.data,
            stdout=subprocess.DEVNULL,  # the server keeps it open
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == 0, f"{program} ended with status {done.returncode}"


@contextmanager
def postgres_server():
    """Give a server; skip the test, and say why, where there can be none."""
    programs, user = _programs(), _user()
    folder = Path(tempfile.mkdtemp(prefix="paradapt-pg-"))
    try:
        data = folder / "data"
        data.mkdir(mode=0o700)
        password = folder / "password"
        password.write_text(PASSWORD + "\n", encoding="utf-8")
        if user is not None:
            for path in (folder, data, password):
                shutil.chown(path, user)
        server = PostgresServer(programs, data, _free_port(), user)
        server.run(
            "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-N"
        )
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres():
    """A server for a whole run of the tests; studies in it need names of their own."""
    with postgres_server() as server:
        yield server


def _programs():
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "pg_ctl").exists():
            return place
    pytest.skip("PostgreSQL is not installed (initdb and pg_ctl are not on the path)")


def _user():
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in names:
            return name
    pytest.skip("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
