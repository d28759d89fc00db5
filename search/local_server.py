"""A server of MLflow's, run by a command on this machine: started, waited for, ended as a whole."""

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from search.mlflow_client import ENVIRONMENT
from space.errors import UserError
from space.redaction import redacted

_STOP_S = 5.0


@contextmanager
def running_server(
    command: Sequence[str], environment: Mapping[str, str], health: str, *, start_s: float
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a server, yield it once it answers, and end it with all of its children.

    Args:
        command: what is run, without a shell.
        environment: set besides this process's and MLflow's quiet one.
        health: the address that answers once the server is up.
        start_s: how long it may take until then.

    Raises:
        UserError: the server did not start.
    """
    with tempfile.TemporaryDirectory(prefix="paradapt-server-") as place:
        log = Path(place, "server.log")
        with log.open("wb") as output:
            server = subprocess.Popen(  # noqa: S603 (our own interpreter, no shell)
                command,
                env={**os.environ, **ENVIRONMENT, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: it is ended as a whole, and Ctrl-C reaches only us.
                start_new_session=True,
            )
        try:
            _wait_until_up(server, health, log, start_s)
            yield server
        finally:
            _stop(server)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the body at SIGINT and SIGTERM, whatever they did before."""
    # Also where SIGINT is ignored, as in what a shell script starts in the background.
    wishes = (signal.SIGINT, signal.SIGTERM)
    before = {wish: signal.signal(wish, signal.default_int_handler) for wish in wishes}
    try:
        yield
    finally:
        for wish, handler in before.items():
            signal.signal(wish, handler)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        number: int = listener.getsockname()[1]
    return number


def check_port(host: str, port: int) -> None:
    """Raise UserError where a port cannot be served on, with one that can."""
    with socket.socket() as listener:
        # As the server does: a port whose last connections still fade away counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"Port {port} cannot be used ({getattr(error, 'strerror', None) or error})."
                f" Take a free one: --port {free_port()}"
            ) from error


def _wait_until_up(server: "subprocess.Popen[bytes]", url: str, log: Path, start_s: float) -> None:
    deadline = time.monotonic() + start_s
    # The machine's proxy has nothing to do with a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    lines = redacted(log.read_text(errors="replace")).strip().splitlines()
    why = "ended" if server.poll() is not None else f"did not answer within {start_s:.0f} s"
    raise UserError(
        f"The MLflow server on port {urlsplit(url).port} {why}. Its last lines:\n"
        + "\n".join(lines[-5:])
    )


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server with its children: asked first, then killed."""
    for wish in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, wish)
        except ProcessLookupError:
            break
        try:
            server.wait(_STOP_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    server.wait()
