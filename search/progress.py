"""Show how a study gets on: a bar on a terminal, plain lines elsewhere, no long silence."""

import sys
import threading
import time
from typing import Any, TextIO

from tqdm import tqdm

from space.redaction import redacted
from trainers.durations import in_words

__all__ = ["Progress", "in_words"]

REFRESH_S = 1.0
"""How often the bar moves."""
PLAIN_SILENCE_S = 4.0
"""Longest silence of the plain lines in the first minutes ..."""
PLAIN_SILENCE_LATER_S = 60.0
"""... and afterwards, so that the log of a long study stays short."""
PLAIN_EAGER_S = 600.0


class Progress:
    """Tells the user what is going on.

    Args:
        n_trials: how many trials there will be.
        stream: where to write (None: standard error); a bar if it is a terminal, else plain
            lines.
        noun: what is counted, where it is not trials.
    """

    def __init__(self, n_trials: int, stream: TextIO | None = None, noun: str = "trials") -> None:
        self._stream = stream = stream or sys.stderr
        self._n_trials = n_trials
        self._noun = noun
        self._n_before = 0
        self._n_done = 0
        self._shares: dict[int | str, float] = {}
        self._doing = "starting"
        self._state = ""
        self._began = time.monotonic()
        self._trials_began = self._began
        self._last_line = self._began
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._bar: Any = None
        if stream.isatty():
            self._bar = tqdm(
                total=n_trials,
                file=stream,
                dynamic_ncols=True,
                leave=False,
                bar_format="{percentage:3.0f}% |{bar:16}| {desc}",
            )
        self._beat = threading.Thread(target=self._keep_alive, daemon=True)
        self._beat.start()

    def stage(self, doing: str) -> None:
        """Say what is being done before the first trial."""
        with self._lock:
            self._doing = doing
            self._show()

    def begin_trials(self, n_done: int, state: str, n_trials: int | None = None) -> None:
        """Say that trials begin, of which `n_done` were done before; how many, if not yet told."""
        with self._lock:
            self._n_trials = n_trials or self._n_trials
            if self._bar is not None:
                self._bar.total = self._n_trials
            self._n_before = self._n_done = n_done
            self._trials_began = time.monotonic()
            self._state = state
            self._show()

    def tick(self, trial: int | str, n_done: int, n_steps: int) -> None:
        """Note how far a running trial is, or what has this name; called at every step."""
        with self._lock:
            self._shares[trial] = n_done / n_steps if n_steps else 0.0
            self._doing = self._running()

    def ended(self, line: str, n_done: int, state: str, trial: int | None = None) -> None:
        """Say how a trial ended, with the counts and the front so far.

        Args:
            line: how it ended, in words.
            n_done: trials that are done by now.
            state: the counts and the front, in words.
            trial: its number; None: all that were running have ended.
        """
        with self._lock:
            for name in list(self._shares) if trial is None else [trial]:
                self._shares.pop(name, None)
            self._n_done, self._state, self._doing = n_done, state, self._running()
            self.write(line)
            self._show()

    def write(self, line: str) -> None:
        """Write a line of its own, without passwords."""
        line = redacted(line)
        with self._lock:
            if self._bar is None:
                print(line, file=self._stream, flush=True)
                self._last_line = time.monotonic()
            else:
                self._bar.write(line, file=self._stream)

    def close(self) -> None:
        """Take the bar away."""
        self._closed.set()
        self._beat.join()
        if self._bar is not None:
            self._bar.close()

    def _keep_alive(self) -> None:
        while not self._closed.wait(REFRESH_S):
            with self._lock:
                silent = time.monotonic() - self._last_line
                eager = time.monotonic() - self._began < PLAIN_EAGER_S
                allowed = PLAIN_SILENCE_S if eager else PLAIN_SILENCE_LATER_S
                if self._bar is not None or silent > allowed - REFRESH_S:
                    self._show()

    def _show(self) -> None:
        parts = [
            f"{self._n_done}/{self._n_trials} {self._noun}",
            self._state,
            self._doing,
            self._left(),
        ]
        text = ", ".join(part for part in parts if part)
        if self._bar is None:
            self.write(f"  {text}")
        else:
            self._bar.n = min(self._n_done + self._share, self._n_trials)
            self._bar.set_description_str(text, refresh=True)

    def _running(self) -> str:
        return ", ".join(
            f"{f'trial {name}' if isinstance(name, int) else name} at {share:.0%}"
            for name, share in self._shares.items()
        )

    @property
    def _share(self) -> float:
        """How many trials the running ones are worth together."""
        return sum(self._shares.values())

    def _left(self) -> str:
        """Return a guess at the time left, once a trial has been timed."""
        done = self._n_done - self._n_before + self._share
        if done < 1:
            return ""
        elapsed = time.monotonic() - self._trials_began
        left = max(self._n_trials - self._n_done - self._share, 0.0) * elapsed / done
        return f"about {in_words(left)} left"
