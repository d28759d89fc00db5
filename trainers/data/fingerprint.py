"""The fingerprint of a study's data."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from trainers.data.scale import TargetScale


def fingerprint(
    sides: Sequence[tuple[Mapping[str, Any], Any]],
    labels: Sequence[str],
    scale: TargetScale | None,
) -> str:
    """Return the SHA-256 over inputs and labels of all rows, in order, side by side.

    Args:
        sides: (inputs, labels) of training and of validation.
        labels: names of the labels.
        scale: of labels that are numbers, which are standardised in `sides`.
    """
    digest = hashlib.sha256()
    if scale is not None:
        _add(digest, f"{scale.mean!r} {scale.std!r}")
    for name in labels:
        _add(digest, name)
    for inputs, own in sides:
        for name, values in sorted(inputs.items()):
            _add(digest, f"{name} {len(values)}")
            _add(digest, values)
        _add(digest, own)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Add a value with its length before it, so that no two sequences are the same bytes."""
    if isinstance(value, str):
        part = value.encode()
        digest.update(b"%d:" % len(part) + part)
    elif isinstance(value, numpy.ndarray):
        digest.update(f"{value.dtype} {value.shape}:".encode())
        digest.update(numpy.ascontiguousarray(value).data)
    else:
        digest.update(b"(%d)" % len(value))
        for inner in value:
            _add(digest, inner)
