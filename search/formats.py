"""The formats of `paradapt export` by name; each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from space.errors import UserError

if TYPE_CHECKING:  # a command line that only names the formats must not load torch
    from trainers.export.format import Format


def _bundle() -> Format:
    from trainers.export.bundle import Bundle

    return Bundle()


def _peft() -> Format:
    from trainers.export.peft import Peft

    return Peft()


def _merged() -> Format:
    from trainers.export.merged import Merged

    return Merged()


def _onnx() -> Format:
    from trainers.export.onnx import Onnx

    return Onnx()


def _openvino() -> Format:
    from trainers.export.openvino import OpenVino

    return OpenVino()


def _mlflow() -> Format:
    from search.mlflow_model import MlflowModel

    return MlflowModel()


FORMATS: Mapping[str, Callable[[], Format]] = {
    "bundle": _bundle,
    "peft": _peft,
    "merged": _merged,
    "onnx": _onnx,
    "openvino": _openvino,
    "mlflow": _mlflow,
}
"""Format by name."""

EXTRAS = {"peft": "peft", "onnx": "onnx", "openvino": "openvino"}
"""Which extra of the distribution brings a format's library."""


def format_named(name: str) -> Format:
    """Return a format.

    Args:
        name: a key of FORMATS.

    Raises:
        UserError: its library is not installed.
    """
    try:
        return FORMATS[name]()
    except ModuleNotFoundError as error:
        if name not in EXTRAS:
            raise
        raise UserError(
            f"--format {name}: needs the library {error.name}, which is not installed; run"
            f" `pip install 'paradapt[{EXTRAS[name]}]'`."
        ) from error
