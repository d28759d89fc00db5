"""What a study or a bundle was made with: versions, and the machine."""

import platform
from importlib.metadata import version
from typing import Any

VERSIONED = ("paradapt", "torch", "transformers", "lightning", "optuna", "mlflow", "numpy")
"""Distributions whose versions are stored with every study and bundle."""


def environment() -> dict[str, Any]:
    """Return the versions and the machine that a study or a bundle was made with."""
    import torch  # Takes seconds, and who only reads a study does not need it.

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONED},
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
