"""Files of JSON lines that survive the end of a process in the middle of a line."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Return the entries of a file; a line that was cut off is passed over."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Write an entry at the end of a file; a last line that was cut off is ended first."""
    cut_off = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut_off + json.dumps(entry) + "\n")
