"""requirements.txt of an export: the libraries that answering needs, each pinned, and no other."""

import platform
from importlib.metadata import version
from pathlib import Path

from trainers.backbone_source import BUNDLED

REQUIREMENTS = "requirements.txt"

NEEDED = (
    "torch",
    "transformers",
    "tokenizers",  # transformers brings it, but the answers depend on its version
    "safetensors",
    "huggingface-hub",
    "numpy",
    "pandas",
    "pyarrow",
    "pillow",
    "pyyaml",
)
"""Distributions that trainers.bundle and trainers.predict import."""


def write_requirements(folder: Path, backbone: str, *, offline: bool) -> None:
    """Write requirements.txt with the versions of this environment.

    Args:
        folder: of the export.
        backbone: as the study file names it: a bundled one comes with a distribution of its own.
        offline: whether the backbone and our own code lie in the folder.
    """
    own = (
        "# Paradapt's own part lies in code/."
        if offline
        else f"# Besides them paradapt {version('paradapt')} itself, installed with --no-deps."
    )
    head = [f"# Versions that wrote this export, under Python {platform.python_version()}.", own]
    lines = [*head, *pinned(backbone, offline=offline)]
    (folder / REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def pinned(backbone: str, *, offline: bool) -> list[str]:
    """Return what answering needs, each as `name==version`; arguments as in write_requirements."""
    names = list(NEEDED)
    if backbone in BUNDLED and not offline:
        names.append(BUNDLED[backbone].distribution)
    return [f"{name}=={_public(version(name))}" for name in names]


def _public(number: str) -> str:
    """Return a version without its local part (`2.13.0+cpu`), which other indexes do not have."""
    return number.partition("+")[0]
