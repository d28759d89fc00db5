"""`paradapt serve`: an export behind MLflow's own scoring server, for this machine only."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search.local_server import check_port, ended_by_signals, running_server
from search.model_folder import ARTIFACTS, CODE, EXAMPLE, MODEL_FILE
from space.errors import UserError
from trainers.folder import SUMS, check_sums

START_S = 600.0
"""How long the server may take to answer: a large backbone is read and checked first."""


def serve(
    folder: Path, show: Callable[[str], None], *, port: int = 5001, host: str = "127.0.0.1"
) -> None:
    """Serve an export until it is interrupted (Ctrl-C, SIGTERM).

    Args:
        folder: an export in the format `mlflow` or `bundle`.
        show: gets, once the server answers, where it does and how it is asked.
        port: the port to serve on.
        host: the address to serve on; the default is reached from this machine only.

    Raises:
        UserError: it is no such folder or was changed, the port is in use, or the server did not
            start.
    """
    try:
        with ended_by_signals(), served_model(folder) as model:
            check_port(host, port)
            url = f"http://{host}:{port}"
            command = _command(model, host, port)
            with running_server(command, _environment(), f"{url}/ping", start_s=START_S) as server:
                show(_said(folder, model, url))
                server.wait()
    except KeyboardInterrupt:  # At any time: also while the server starts.
        return
    raise UserError(f"The scoring server on port {port} ended by itself.")


@contextmanager
def served_model(folder: Path) -> Iterator[Path]:
    """Yield the folder of an MLflow model: the given one, or one made of a bundle for the while.

    Raises:
        UserError: it is neither, or was changed since the export.
    """
    if (folder / MODEL_FILE).is_file():
        if not (folder / SUMS).is_file():
            raise UserError(
                f"{folder}: is an MLflow model, but not one of paradapt's (it has no {SUMS});"
                f" `mlflow models serve -m {folder} --env-manager local` serves it."
            )
        check_sums(folder, (MODEL_FILE, EXAMPLE), closed=(ARTIFACTS, CODE))
        yield folder
        return
    # Here alone torch is needed.
    from search.mlflow_model import write_served
    from trainers.bundle import CONFIG, load

    if (folder / CONFIG).is_file():
        with tempfile.TemporaryDirectory(prefix="paradapt-serve-") as place:
            model = Path(place, "model")
            model.mkdir()
            # Not copied: the backbone may lie in the bundle, and be large.
            write_served(load(folder), model, str(folder.resolve()), offline=False)
            yield model
    else:
        raise UserError(_wrong(folder, CONFIG))


def _wrong(folder: Path, config: str) -> str:
    right = "`paradapt export STUDY.yaml --select knee --format mlflow --output DIR` writes one."
    if not folder.is_dir():
        return f"{folder}: there is no such folder; {right}"
    return (
        f"{folder}: cannot be served: it is no export in the format mlflow (with {MODEL_FILE}) or"
        f" bundle (with {config}). {right}"
    )


def _command(model: Path, host: str, port: int) -> list[str]:
    asked = ["--env-manager", "local", "--host", host, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), *asked]


def _environment() -> dict[str, str]:
    beside = str(Path(sys.executable).parent)
    return {
        # MLflow calls uvicorn by its name, and nobody needs to have activated the environment.
        "PATH": os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]),
        # An export stays as it was written, and its log does not grow with each request.
        "PYTHONDONTWRITEBYTECODE": "1",
        "UVICORN_LOG_LEVEL": "warning",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
    }


def _said(folder: Path, model: Path, url: str) -> str:
    example = json.dumps(json.loads((model / EXAMPLE).read_text("utf-8")), ensure_ascii=False)
    return (
        f"{folder} is served at {url} (Ctrl-C ends it). Ask it, for instance:\n\n"
        f"curl {url}/invocations -H 'Content-Type: application/json' -d {shlex.quote(example)}\n"
    )
