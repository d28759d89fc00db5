"""No format writes a pickle, nor an archive that may hold one: opening an export runs nothing."""

import pickle
import zipfile

import pytest
import torch

from search.formats import EXTRAS, FORMATS, format_named
from tests.trainers.export.sources import export, source_of
from tests.trainers.tiny import structure

SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy", ".npz", ".zip", ".ckpt"}
STRUCTURE = structure(2, (0, 1), {"query": "lora", "value": "lora"})


def may_run_code(path):
    """Whether a file is a pickle or a zip archive, which torch.load and others would open."""
    content = path.read_bytes()
    pickled = (
        content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05" and content[-1:] == b"."
    )
    return pickled or content[:4] == b"PK\x03\x04" or path.suffix in SUFFIXES


def test_what_may_run_code_is_told_apart(tmp_path):
    (tmp_path / "a").write_bytes(pickle.dumps([1]))
    torch.save({}, tmp_path / "b")
    with zipfile.ZipFile(tmp_path / "c", "w") as archive:
        archive.writestr("x", "y")
    (tmp_path / "d.pkl").write_bytes(b"(lp0\n.")
    (tmp_path / "e.bin").write_bytes(b"\x80\x04weights")
    found = {path.name: may_run_code(path) for path in tmp_path.iterdir()}
    assert found == {"a": True, "b": True, "c": True, "d.pkl": True, "e.bin": False}


# OpenVINO must not compute in a process of other tests: see test_openvino.py.
APART = [pytest.param("openvino", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "openvino"] + APART)
def test_no_format_writes_any(name, tiny_bert, tmp_path):
    if name in EXTRAS:
        pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    form = format_named(name)
    options = {"offline": True} if "offline" in form.options else {}
    export(form, source_of("class", tiny_bert, STRUCTURE), tmp_path / "out", **options)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path.name for path in files if may_run_code(path)] == []
