"""Peak memory: of what ran since the last reset. And what is freed: used again, or given back."""

import platform
import resource
import subprocess
import sys

import numpy
import pytest
import torch

from trainers import memory
from trainers.memory import peak_memory_mib, reset_peak_memory

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="counts the GPU's memory there")


def touch(n_mib):
    return numpy.ones(n_mib * 2**20, dtype=numpy.uint8)


@pytest.mark.skipif(not memory._RESET.exists(), reason="only Linux can reset the peak")
def test_a_reset_forgets_the_peak_before_it():
    reset_peak_memory()
    start = peak_memory_mib()
    del_me = touch(128)
    high = peak_memory_mib()
    del del_me
    assert peak_memory_mib() == pytest.approx(high, abs=1)
    reset_peak_memory()
    assert start + 100 < high
    assert peak_memory_mib() < high - 100


def test_the_process_peak_is_told_where_there_is_no_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "_RESET", tmp_path / "gone" / "none")
    reset_peak_memory()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert peak_memory_mib() == pytest.approx(usage.ru_maxrss / 2**10, rel=0.01)
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert peak_memory_mib() == pytest.approx(usage.ru_maxrss / 2**20, rel=0.01)


FAULTS = """
import resource, sys
import numpy
from trainers import memory

if sys.argv[1] == "kept":
    memory.keep_freed_memory()
sizes = (3, 7, 12, 5)


def step():
    tensors = [numpy.ones(n * 2**20, dtype=numpy.uint8) for n in sizes]
    return len(tensors)


def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
held = resident_mib()
memory.release_memory()
print(faults, held - resident_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks GNU's C library")
def test_what_steps_free_is_used_again_and_given_back_between_trials():
    """Pages that come anew with each step are faults."""
    found = {}
    for way in ("usual", "kept"):
        command = [sys.executable, "-c", FAULTS, way]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[way] = [float(word) for word in out.split()]
    assert found["kept"][0] < found["usual"][0] / 20
    assert found["kept"][1] > 20
