"""What was measured on this machine once and holds from then on.

Kept in files of the user's cache folder, so that the same study file gives the same structures and
costs on the same machine.
"""

import json
import os
import platform
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

_NO_FILE = (OSError, RuntimeError)  # RuntimeError: a user without a home folder


def cache_folder() -> Path:
    """Return the folder that all studies of a user share.

    Raises:
        RuntimeError: the user has no home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "paradapt"


@cache
def machine() -> str:
    """Return what decides over speed: processor, threads, torch."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((x.partition(": ")[2] for x in lines if "model name" in x), processor)
    if torch.cuda.is_available():
        processor = torch.cuda.get_device_name()
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"


@dataclass(frozen=True)
class Measured:
    """A file of choices by what they are for, for each machine."""

    file_name: str
    choices: Collection[str]
    """What may stand there; anything else counts as not measured."""

    def known(self, key: str) -> str | None:
        """Return what was chosen before on this machine."""
        choice = self._read().get(machine(), {}).get(key)
        return choice if choice in self.choices else None

    def keep(self, key: str, choice: str) -> str:
        """Keep a choice and return it, or what another process kept meanwhile: all agree.

        Where it cannot be kept, it is measured again next time.
        """
        meanwhile = self.known(key)
        if meanwhile is not None:
            return meanwhile
        kept = self._read()
        kept.setdefault(machine(), {})[key] = choice
        with suppress(*_NO_FILE):
            path = self._path()
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
            partial.replace(path)
        return choice

    def _path(self) -> Path:
        return cache_folder() / self.file_name

    def _read(self) -> dict[str, dict[str, str]]:
        """Return what was measured before, for each machine; nothing where the file is broken."""
        with suppress(*_NO_FILE, ValueError):
            found = json.loads(self._path().read_text(encoding="utf-8"))
            if isinstance(found, dict) and all(isinstance(known, dict) for known in found.values()):
                return found
        return {}
