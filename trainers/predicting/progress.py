"""Show how prediction gets on: one line that changes on a terminal, plain lines elsewhere."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO

from trainers.durations import in_words

REFRESH_S = 0.25
SILENCE_S = 5.0
"""Longest silence of the plain lines in the first minutes ..."""
SILENCE_LATER_S = 60.0
"""... and afterwards, so that the log of a long run stays short."""
EAGER_S = 300.0


class RowProgress:
    """Tells how many rows are done, how many a second, and how long the rest will take.

    Args:
        stream: where to write (None: standard error).
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._changes = self._stream.isatty()
        self._began = self._last = time.monotonic()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wipe()

    def told(self, n_done: int, n_rows: int | None) -> None:
        """Show how far it is; nothing done begins the clock.

        Args:
            n_done: rows that are answered for.
            n_rows: about so many rows there are; None where that is not known.
        """
        now = time.monotonic()
        if n_done == 0:
            self._began = self._last = now
        if now - self._last < self._silence(now):
            return
        self._last = now
        line = in_line(n_done, n_rows, now - self._began)
        if self._changes:
            self._wipe()
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(line[:width])
            self._shown = True
        else:
            self._stream.write(f"  {line}\n")
        self._stream.flush()

    def say(self, sentence: str) -> None:
        """Write a line of its own."""
        self._wipe()
        print(sentence, file=self._stream, flush=True)

    def _silence(self, now: float) -> float:
        if self._changes:
            return REFRESH_S
        return SILENCE_S if now - self._began < EAGER_S else SILENCE_LATER_S

    def _wipe(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False


def in_line(n_done: int, n_rows: int | None, seconds: float) -> str:
    """Return how far it is, in words: rows, rows a second, time left where that can be told."""
    rate = n_done / seconds if seconds > 0 else 0.0
    # The number of rows may be a guess, which the rows have overtaken.
    known = n_rows is not None and n_done <= n_rows
    parts = [f"{n_done:,} of {n_rows:,} rows" if known else f"{n_done:,} rows"]
    if rate:
        parts.append(f"{rate:,.0f} rows/s" if rate >= 10 else f"{rate:.2g} rows/s")
    if known and rate:
        assert n_rows is not None
        parts.append(f"about {in_words((n_rows - n_done) / rate)} left")
    return ", ".join(parts)
