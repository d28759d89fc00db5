"""Measure the quickstart as a user meets it: time, peak memory, disk, longest silence.

    python -m tests.benchmarks.table quickstart

The study runs in a folder of its own with an empty cache, its output through a pipe, so that its
plain lines are what is timed. Limits are those of the quickstart's promise: 6 minutes and 2 GiB
on two cores, and never more than 5 seconds without a word.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.material import STUDY
from tests.benchmarks.rows import Found, Row, say

MAX_S, MAX_MIB, MAX_SILENCE_S = 360.0, 2048.0, 5.0
MAX_DISK_MIB = 4096.0
"""What a study's cache may take unless its file says otherwise."""


def measure(settings: Sequence[str] = ()) -> Found:
    """Run the quickstart once.

    Args:
        settings: further `key=value` texts for `--set`.

    Raises:
        RuntimeError: the command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        study = shutil.copy(STUDY, folder)
        cache = Path(folder) / "cache"
        words = [w for s in (f"cache.folder={cache}", *settings) for w in ("--set", s)]
        command = [str(Path(sys.executable).with_name("paradapt")), "search", study, *words]
        began = last = time.perf_counter()
        silence = 0.0
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                now = time.perf_counter()
                silence, last = max(silence, now - last), now
                say(line.rstrip("\n"))
            # Of this child alone; subprocess itself does not tell what it used.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        silence = max(silence, time.perf_counter() - last)
        disk_mib = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) / 2**20
    if process.returncode:
        raise RuntimeError(f"The quickstart ended with status {process.returncode}.")
    found = (
        ("time", seconds, "s", MAX_S),
        ("peak memory of its worker, cache on", usage.ru_maxrss / 2**10, "MiB", MAX_MIB),
        ("disk of its cache", disk_mib, "MiB", MAX_DISK_MIB),
        ("longest silence", silence, "s", MAX_SILENCE_S),
    )
    return Found(
        rows=[
            Row(name=f"quickstart: {what}", measured=value, unit=unit, at_most=most)
            for what, value, unit, most in found
        ]
    )
