"""Trained weights on disk: whole or not at all."""

import errno

import pytest
import torch
from safetensors import SafetensorError

from space.errors import UserError
from tests.trainers.tiny import everywhere, fill_randomly
from trainers import weights
from trainers.model import build
from trainers.weights import read_tensors, save_weights, trial_folder, write_tensors


def test_a_trials_weights_are_read_as_they_were_saved(tmp_path, tiny_bert):
    model = fill_randomly(
        build(tiny_bert, everywhere(tiny_bert.shape, "parallel", 2, "mean"), 2, 0)
    )
    path = save_weights(model, tmp_path / "weights", 7)
    assert path == trial_folder(tmp_path / "weights", 7) / "adapter.safetensors"
    assert path.parent.name == "trial-00007"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    found, expected = read_tensors(path), model.trained_state()
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize("error", [SafetensorError("I/O error: no space"), OSError(28, "no space")])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / "a.safetensors"
    write_tensors({"x": torch.ones(2)}, path)

    def fail(tensors, target):
        target.write_bytes(b"half")
        raise error

    monkeypatch.setattr(weights, "save_file", fail)
    with pytest.raises(OSError, match="no space"):
        write_tensors({"x": torch.zeros(2)}, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert torch.equal(read_tensors(path)["x"], torch.ones(2))


def test_a_full_disk_is_told_as_python_tells_it(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"

    def fail(tensors, target):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights, "save_file", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        write_tensors({"x": torch.zeros(2)}, path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))


def test_missing_and_damaged_files_are_told(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match=r"a\.safetensors: the trained weights are missing"):
        read_tensors(path)
    write_tensors({"x": torch.ones(64)}, path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"a\.safetensors: no complete safetensors file"):
        read_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="no complete safetensors file"):
        read_tensors(path)
