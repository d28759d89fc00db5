"""What the machine does while a study runs, under the names that MLflow's UI has a tab for."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

PREFIX = "system/"


def system_monitor() -> Callable[[], Mapping[str, float]]:
    """Return a function that measures processor, memory, disk and, where there is one, GPU.

    Each call covers the time since the call before. MLflow's own monitors measure (with psutil);
    its thread, which would write to the store beside ours, is not used.
    """
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    kinds: tuple[Any, ...] = (CPUMonitor, DiskMonitor, GPUMonitor)
    monitors = []
    for kind in kinds:
        with suppress(ImportError, RuntimeError):  # No GPU, or not the package that asks it.
            monitors.append(kind())

    def measure() -> Mapping[str, float]:
        found: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            found |= {f"{PREFIX}{k}": float(v) for k, v in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return found

    return measure
