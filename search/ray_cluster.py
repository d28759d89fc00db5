"""Start Ray on this machine, or connect to a cluster: quiet, and leaving nothing behind."""

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import search
import space
import trainers
from search.capacity import Share
from space.errors import UserError

_PREFIX = "paradapt-ray-"
_OBJECT_STORE_MIB = 80
"""The least that Ray takes; what workers return is small."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # nothing of its own on our output; ours says what matters
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # as with one worker, which is this process
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""This machine alone: its name is a misnomer, all systems heed it."""
_WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONWARNINGS": "ignore",
}
_PASSED_ON = ("HF_HUB_OFFLINE",)


@contextmanager
def on_this_machine(n_workers: int, share: Share) -> Iterator[None]:
    """Run Ray on this machine, on loopback alone, with room for so many workers.

    Raises:
        UserError: Ray is not installed.
    """
    folder = _new_folder()
    try:
        with _connected(
            _LOOPBACK,
            address="local",
            num_cpus=n_workers * share.cores,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_MIB * 2**20,
            _temp_dir=str(folder),
            runtime_env={"env_vars": _for_workers()},
        ):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def in_cluster(address: str) -> Iterator[int]:
    """Connect to a cluster; give how many cores it has. Our own code is sent along.

    Args:
        address: `auto`, for one that this machine belongs to, or host:port.

    Raises:
        UserError: Ray is not installed, or no cluster answers there.
    """
    modules = [str(Path(str(m.__file__)).parent) for m in (search, space, trainers)]
    environment = {"env_vars": _for_workers(), "py_modules": modules}
    with _connected({}, address=address, runtime_env=environment):
        import ray

        yield int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]


@contextmanager
def _connected(environment: dict[str, str], **options: Any) -> Iterator[None]:
    if find_spec("ray") is None:
        raise UserError(
            "workers: several workers, and workers of a cluster, need Ray, which is not installed:"
            ' pip install "paradapt[ray]".'
        )
    os.environ.update(_ENVIRONMENT | environment)  # read when it is imported
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            log_to_driver=False, configure_logging=False, logging_level=logging.ERROR, **options
        )
    except (ConnectionError, ValueError) as error:
        raise UserError(
            f"engine.ray: no cluster answers at {options['address']} ({_first_line(error)}). Start"
            " one with `ray start --head`, or leave the key out to use this machine alone."
        ) from error
    signal.signal(signal.SIGTERM, before)  # Ray has one of its own, which exits at once
    try:
        yield
    finally:
        ray.shutdown()


def _for_workers() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return _WORKER_ENVIRONMENT | passed_on


def _new_folder() -> Path:
    """Make a folder for what Ray writes: its path is short, since sockets lie in it.

    Those of processes that were killed are taken away.
    """
    root = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())  # noqa: S108
    for old in root.glob(f"{_PREFIX}*"):
        with suppress(ValueError, OSError):
            if not _is_alive(int(old.name.removeprefix(_PREFIX).partition("-")[0])):
                shutil.rmtree(old)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
