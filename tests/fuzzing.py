"""Many inputs for one check, each under a limit of time, and the ways in which bytes are broken."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LIMIT_S = 10.0
"""Processor seconds of one input: so much is a hang, on any machine and beside any other work."""


class Hang(BaseException):
    """An input took too long; nothing that catches every Exception catches it."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise Hang where the block takes more than the limit."""

    def stop(*_: object) -> None:
        raise Hang(f"an input took more than {LIMIT_S:g} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def inputs(quick: int, many: int) -> Any:
    """Parametrise a test with `n_inputs`: a few always, many where slow tests run."""
    slow = pytest.param(many, marks=pytest.mark.slow)
    return pytest.mark.parametrize("n_inputs", [quick, slow])


def check_all(
    n_inputs: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]
) -> None:
    """Call `check` with so many inputs; what it raises is a finding, told with the least input."""
    n_checked = 0

    @settings(
        max_examples=n_inputs,
        deadline=None,  # a limit of our own, in processor time
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(value: Any) -> None:
        nonlocal n_checked
        n_checked += 1
        with limited():
            check(value)

    each()
    assert n_checked >= n_inputs, f"there are {n_checked} inputs of this kind"


SNIPPETS = (
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r", b"\t", b",", b'"', b"'",
    b"{", b"[", b"}", b"]", b":", b"&a", b"*a", b"!!int ", b"<<: ", b"~", b"-", b"- ", b"NaN",
    b"1e999", b"-0", b"9" * 400, b"[" * 1200, b"null", b"\\ud800", b"\xe2\x80\xa8", b"PK\x03\x04",
)  # fmt: skip


@st.composite
def broken(draw: Any, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which one to four parts were taken away, replaced, doubled or added to."""
    content = draw(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 12)))
        what = draw(st.sampled_from(["replace", "flip", "double", "cut off", "random"]))
        if what == "replace":
            middle = draw(st.sampled_from(SNIPPETS))
        elif what == "flip":
            mask = draw(st.integers(1, 255))
            middle = bytes(byte ^ mask for byte in content[start:stop])
        elif what == "double":
            middle = content[start:stop] * draw(st.integers(2, 4))
        elif what == "random":
            middle = draw(st.binary(max_size=6))
        else:
            stop, middle = len(content), b""
        content = content[:start] + middle + content[stop:]
    return content
