"""Show how `paradapt explain` gets on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from search.progress import in_words

SILENCE_S = 5.0
"""Longest silence of the plain lines while it gets on."""


class ExplainProgress:
    """Tells what is being done, how much of it is done, and how long the rest will take.

    Args:
        stream: where to write (None: standard error); a bar if it is a terminal, else plain lines.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._total = 0.0
        self._began = self._last = 0.0
        self._bar: Any = None
        if self._stream.isatty():
            shape = "{percentage:3.0f}% |{bar:16}| {desc}"
            self._bar = tqdm(
                total=1.0, file=self._stream, dynamic_ncols=True, leave=False, bar_format=shape
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def told(self, doing: str, done: float, total: float) -> None:
        """Show `doing`, of which `done` of `total` is done; another total begins a new stage."""
        now = time.monotonic()
        if total != self._total or done == 0:
            self._total, self._began, self._last = total, now, 0.0
        share = done / total if total else 0.0
        text = doing
        if share > 0:
            left = (now - self._began) * (1 - share) / share
            text += f", about {in_words(left)} left"
        if self._bar is not None:
            self._bar.n = share
            self._bar.set_description_str(text, refresh=True)
        elif now - self._last >= SILENCE_S or done == 0:
            self._last = now
            print(f"  {share:4.0%} {text}", file=self._stream, flush=True)

    def say(self, sentence: str) -> None:
        """Write a line of its own."""
        if self._bar is not None:
            self._bar.write(sentence, file=self._stream)
        else:
            print(sentence, file=self._stream, flush=True)
