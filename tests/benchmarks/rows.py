"""What a benchmark found: rows of the one table that `make bench` prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HEADINGS = ("what", "measured", "wanted", "holds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One ratio or size: what was measured, and what is wanted of it."""

    name: str
    measured: float | None
    """None where it could not be measured here; `note` says why."""
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def wanted(self) -> str:
        """The bounds in words."""
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    @property
    def holds(self) -> bool | None:
        """Whether it is within its bounds; None where it was not measured or nothing is wanted."""
        if self.measured is None or not self.wanted:
            return None
        low = self.at_least is None or self.measured >= self.at_least
        return low and (self.at_most is None or self.measured <= self.at_most)

    def cells(self) -> tuple[str, ...]:
        """Return what stands in the table."""
        measured = "not measured" if self.measured is None else f"{self.measured:.3g} {self.unit}"
        holds = {True: "yes", False: "NO", None: ""}[self.holds]
        return (self.name, measured.strip(), self.wanted, holds, self.note)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one part of the benchmarks found."""

    rows: Sequence[Row]
    details: Mapping[str, Any] = field(default_factory=dict)
    """All that the rows were made of, as JSON holds it."""


def table(lines: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    """Return lines of cells under each other; cells beyond the headings follow as they are."""
    n = len(headings)
    widths = [max(len(line[i]) for line in [headings, *lines]) for i in range(n)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), *line[n:]]).rstrip()
        for line in [headings, ["-" * width for width in widths], *lines]
    )


def say(line: str = "") -> None:
    """Print a line at once, through a pipe too."""
    print(line, flush=True)
