"""MLflow's own UI on the tracking store of a study, served to this machine only."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from search.mlflow_client import (
    ENVIRONMENT,
    artifact_folder,
    find_experiment,
    find_study_run,
    is_remote,
    new_client,
    redacted,
)
from space.errors import UserError

START_S = 90.0
"""How long the server may take to answer; a first start on a busy machine took 12 s."""
_STOP_S = 5.0


def serve_ui(
    tracking_uri: str,
    study_name: str,
    show: Callable[[str], None],
    *,
    artifact_root: Path | None = None,
    port: int = 5000,
    host: str = "127.0.0.1",
) -> None:
    """Serve MLflow's UI until it is interrupted (Ctrl-C, SIGTERM).

    A tracking server (`http://...`) has a UI already: its address is shown, nothing is started.

    Args:
        tracking_uri: where the study is tracked.
        study_name: the study whose page is shown.
        show: gets the address of the study's page once the UI answers.
        artifact_root: the folder for artifacts, as the projection got it.
        port: the port to serve on.
        host: the address to serve on; the default is reached from this machine only.

    Raises:
        UserError: the port is in use, or the server did not start.
    """
    if is_remote(tracking_uri):
        show(redacted(tracking_uri.rstrip("/") + _page(tracking_uri, study_name)))
        return
    # Also where SIGINT is ignored, as in what a shell script starts in the background.
    wishes = (signal.SIGINT, signal.SIGTERM)
    before = {wish: signal.signal(wish, signal.default_int_handler) for wish in wishes}
    try:
        with running_ui(
            tracking_uri, study_name, artifact_root=artifact_root, port=port, host=host
        ) as (url, server):
            show(url)
            server.wait()
    except KeyboardInterrupt:  # At any time: also while the server starts.
        return
    finally:
        for wish, handler in before.items():
            signal.signal(wish, handler)
    raise UserError(f"The MLflow server on port {port} ended by itself.")


@contextmanager
def running_ui(
    tracking_uri: str,
    study_name: str,
    *,
    artifact_root: Path | None = None,
    port: int = 5000,
    host: str = "127.0.0.1",
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start MLflow's UI, yield the address of the study's page and the server, stop both.

    Raises:
        UserError: the port is in use, or the server did not start.
    """
    folder = artifact_folder(tracking_uri, artifact_root)
    assert folder is not None, f"a server has its own UI: {redacted(tracking_uri)}"
    _check_port(host, port)
    page = _page(tracking_uri, study_name)
    with tempfile.TemporaryDirectory(prefix="paradapt-ui-") as place:
        log = Path(place, "server.log")
        server = _start(tracking_uri, folder, port, host, log)
        try:
            _wait_until_up(server, f"http://{host}:{port}", log)
            yield f"http://{host}:{port}{page}", server
        finally:
            _stop(server)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        number: int = listener.getsockname()[1]
    return number


def _check_port(host: str, port: int) -> None:
    with socket.socket() as listener:
        # As the server does: a port whose last connections still fade away counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"Port {port} cannot be used ({getattr(error, 'strerror', None) or error})."
                f" A free one is {free_port()}: --port {free_port()}"
            ) from error


def _page(tracking_uri: str, study_name: str) -> str:
    """The part of the address that opens the study's figure, "" where it is not tracked yet."""
    try:
        client = new_client(tracking_uri)
        experiment = find_experiment(client, study_name)
        if experiment is None:
            return ""
        run = find_study_run(client, experiment.experiment_id, study_name)
    except Exception as error:  # Whatever a store or a server throws means the same here.
        reason = " ".join(redacted(str(error)).split())[:240]
        raise UserError(
            f"The tracking store {redacted(tracking_uri)} does not answer ({reason})."
        ) from error
    page = f"/#/experiments/{experiment.experiment_id}"
    if run is not None:
        page += f"/runs/{run.info.run_id}/artifactPath/pareto.html"
    # A run opened directly would stand in the view of language model applications otherwise.
    return page + "?workflowType=machine_learning"


def _start(
    tracking_uri: str, folder: Path, port: int, host: str, log: Path
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    environment = {
        **os.environ,
        **ENVIRONMENT,
        # Not in the command line, where every user of this machine could read a password.
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
        "MLFLOW_ARTIFACTS_DESTINATION": folder.as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 (our own interpreter, no shell)
            [*command, "--workers", "1"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: it is ended as a whole, and Ctrl-C reaches only us.
            start_new_session=True,
        )


def _wait_until_up(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    # The machine's proxy has nothing to do with a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    lines = redacted(log.read_text(errors="replace")).strip().splitlines()
    why = "ended" if server.poll() is not None else f"did not answer within {START_S:.0f} s"
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
