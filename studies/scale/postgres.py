"""A PostgreSQL server of one's own, on loopback, as long as it is needed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

USER = "paradapt"
_PACKAGED = Path("/usr/lib/postgresql")
_ACCOUNT = "postgres"
"""Who runs the server where we are root: it refuses to run as root."""


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, the newest there is; None without PostgreSQL."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = [path.parent for path in _PACKAGED.glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def running_postgres(password: str, *, durable: bool = True) -> Iterator[int]:
    """Start a new server that asks every client for a password; yield its port on 127.0.0.1.

    Args:
        password: of the user `paradapt`, who may do everything; its database is `postgres`.
        durable: whether a commit waits for the disk, as by default; tests need not wait.
    """
    binaries = programs()
    assert binaries is not None, "PostgreSQL is not installed"
    # Not below pytest's folders, which only their owner may enter.
    with tempfile.TemporaryDirectory(prefix="paradapt-postgres-") as name:
        place, data = Path(name), Path(name, "data")
        (place / "password").write_text(password, encoding="utf-8")
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            for path in (place, place / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
        asked = ["--auth=scram-sha-256", "--pwfile", place / "password", "--no-sync"]
        _run([binaries / "initdb", "-D", data, "-U", USER, "--encoding=UTF8", *asked])
        port = _free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
        options += "-c max_connections=200 " + ("" if durable else "-c fsync=off")
        _run([binaries / "pg_ctl", "-D", data, "-w", "-l", place / "log", "-o", options, "start"])
        try:
            yield port
        finally:
            _run([binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"])


def _run(command: list[object]) -> None:
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["setpriv", f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--clear-groups", *words]
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", timeout=60)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{words[-1]} of PostgreSQL failed: {done.stdout}{done.stderr}")


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
