"""MLflow's own UI on the tracking store of a study, served to this machine only."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search.local_server import check_port, ended_by_signals, free_port, running_server
from search.mlflow_client import (
    artifact_folder,
    find_experiment,
    find_study_run,
    is_remote,
    new_client,
    reason_of,
)
from space.errors import UserError
from space.redaction import redacted

__all__ = ["free_port", "running_ui", "serve_ui"]

START_S = 90.0
"""How long the server may take to answer; a first start on a busy machine took 12 s."""


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
    try:
        with (
            ended_by_signals(),
            running_ui(
                tracking_uri, study_name, artifact_root=artifact_root, port=port, host=host
            ) as (url, server),
        ):
            show(url)
            server.wait()
    except KeyboardInterrupt:  # At any time: also while the server starts.
        return
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
    check_port(host, port)
    page = _page(tracking_uri, study_name)
    environment = {
        # Not in the command line, where every user of this machine could read a password.
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
        "MLFLOW_ARTIFACTS_DESTINATION": folder.as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    with running_server(
        [*command, "--workers", "1"],
        environment,
        f"http://{host}:{port}/health",
        start_s=START_S,
    ) as server:
        yield f"http://{host}:{port}{page}", server


def _page(tracking_uri: str, study_name: str) -> str:
    """The part of the address that opens the study's figure, "" where it is not tracked yet."""
    try:
        client = new_client(tracking_uri)
        experiment = find_experiment(client, study_name)
        if experiment is None:
            return ""
        run = find_study_run(client, experiment.experiment_id, study_name)
    except Exception as error:  # Whatever a store or a server throws means the same here.
        reason = reason_of(error)
        raise UserError(
            f"The tracking store {redacted(tracking_uri)} does not answer ({reason})."
        ) from error
    page = f"/#/experiments/{experiment.experiment_id}"
    if run is not None:
        page += f"/runs/{run.info.run_id}/artifactPath/pareto.html"
    # A run opened directly would stand in the view of language model applications otherwise.
    return page + "?workflowType=machine_learning"
