"""Measure the quickstart as a user meets it: time, peak memory, longest silence.

    make bench

The study runs in a folder of its own, its output through a pipe, so that its plain lines are what
is timed. Limits are those of the quickstart's promise: 6 minutes and 2 GiB on two cores, and
never more than 5 seconds without a word.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = Path(__file__).parents[2] / "studies" / "quickstart.yaml"
MAX_S, MAX_MIB, MAX_SILENCE_S = 360.0, 2048.0, 5.0


def main() -> int:
    """Run the quickstart once; return 1 where it breaks its promise."""
    with tempfile.TemporaryDirectory() as folder:
        study = shutil.copy(STUDY, folder)
        command = [str(Path(sys.executable).with_name("paradapt")), "search", study]
        began = last = time.perf_counter()
        silence = 0.0
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                now = time.perf_counter()
                silence, last = max(silence, now - last), now
                print(line, end="", flush=True)
        seconds = time.perf_counter() - began
        silence = max(silence, time.perf_counter() - last)
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    print(f"\ntime             {seconds:6.0f} s    (at most {MAX_S:.0f})")
    print(f"peak memory      {peak_mib:6.0f} MiB  (at most {MAX_MIB:.0f})")
    print(f"longest silence  {silence:6.1f} s    (at most {MAX_SILENCE_S:.0f})")
    kept = seconds <= MAX_S and peak_mib <= MAX_MIB and silence <= MAX_SILENCE_S
    return process.returncode or (0 if kept else 1)


if __name__ == "__main__":
    sys.exit(main())
