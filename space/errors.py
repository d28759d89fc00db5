"""The two roots of every error: what the user gave is wrong, or this one trial failed."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from space.redaction import redacted


class UserError(Exception):
    """What the user gave is wrong; nothing was trained and the command ends with status 2.

    Args:
        problems: one message, or all messages at once. Each says what is wrong, where (file,
            key, row), the value, and what would be right. Passwords in URLs are taken out.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        listed = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(redacted(problem) for problem in listed)
        super().__init__("\n".join(self.problems))


class TrialError(Exception):
    """This trial failed (a loss that is not finite, no memory left); the study goes on."""


class OutOfMemory(TrialError):
    """This trial failed for want of memory: what needs as much of it or more would fail too."""


def close_matches(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean `x`?"` for the known names that resemble `name`, else `""`."""
    matches = get_close_matches(name, sorted(known), n=2, cutoff=0.6)
    if not matches:
        return ""
    return " Did you mean " + " or ".join(f"`{match}`" for match in matches) + "?"
