"""The thread that keeps MLflow up to date: never waited for long, nothing lost."""

import socket
import sys
import threading
import time
from contextlib import closing
from functools import partial

from search.mlflow_client import ENVIRONMENT
from search.tracking import Projection
from search.tracking_thread import TrackingThread
from tests.search.finished_study import finished_trials, snapshot_of
from tests.search.read_store import ReadStore

TRIALS = finished_trials(9)
SNAPSHOT = snapshot_of(TRIALS)


def test_the_latest_snapshot_wins_and_close_completes(uri):
    warnings = []
    thread = TrackingThread(Projection(uri, "quickstart"), warnings.append, interval_s=0.2)
    began = time.monotonic()
    for n_trials in range(1, 9):
        thread.submit(partial(snapshot_of, TRIALS[:n_trials], status="running"))
    assert time.monotonic() - began < 0.5
    assert thread.close(lambda: SNAPSHOT)
    store = ReadStore(uri)
    assert len(store.runs("trial")) == len(TRIALS)
    assert store.parent().info.status == "FINISHED"
    assert warnings == []


def test_a_closed_port_costs_seconds_and_one_warning(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    check_dead(f"http://me:secret@127.0.0.1:{port}", within_s=10)


def test_a_server_that_never_answers_costs_seconds_and_one_warning(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with closing(socket.create_server(("127.0.0.1", 0))) as hole:
        check_dead(f"http://me:secret@127.0.0.1:{hole.getsockname()[1]}", within_s=10)


def check_dead(uri, within_s):
    warnings = []
    began = time.monotonic()
    thread = TrackingThread(Projection(uri, "quickstart"), warnings.append, interval_s=0.1)
    thread.submit(lambda: snapshot_of(TRIALS[:1], status="running"))
    time.sleep(1.5)
    thread.submit(lambda: snapshot_of(TRIALS[:2], status="running"))
    assert not thread.close(lambda: SNAPSHOT)
    assert time.monotonic() - began < within_s
    (warning,) = warnings
    assert "\n" not in warning
    assert "secret" not in warning
    assert "The study goes on" in warning


def test_training_waits_for_the_interpreter_for_moments_only():
    """A page that is drawn in pure Python must not stop a training that starts operators."""
    began, drawn = threading.Event(), threading.Event()

    class Drawing:
        place = "nowhere"

        def update(self, snapshot):
            began.set()
            while not drawn.is_set():
                sum(range(100))

    switch_s = sys.getswitchinterval()
    thread = TrackingThread(Drawing(), print)
    thread.submit(lambda: SNAPSHOT)
    assert began.wait(10)
    started = time.monotonic()
    for _ in range(200):
        time.sleep(0)  # Gives the interpreter away, as each operator of torch does.
    waited_s = time.monotonic() - started
    drawn.set()
    thread.close(lambda: SNAPSHOT)
    assert waited_s < 0.5  # 1 s and more with Python's own 5 ms.
    assert sys.getswitchinterval() == switch_s


def test_close_waits_no_longer_than_told():
    class Stuck:
        place = "here"
        released = threading.Event()

        def update(self, snapshot):
            self.released.wait(20)

    stuck = Stuck()
    thread = TrackingThread(stuck, print)
    began = time.monotonic()
    assert not thread.close(lambda: SNAPSHOT, wait_s=0.3)
    assert time.monotonic() - began < 2
    stuck.released.set()


def test_a_server_that_comes_back_gets_everything(uri):
    warnings = []
    projection = Projection(uri, "quickstart")
    update, calls = projection.update, []

    class Flaky:
        place = projection.place

        def update(self, snapshot):
            calls.append(snapshot)
            if len(calls) == 1:
                raise ConnectionError("down")
            update(snapshot)

    thread = TrackingThread(Flaky(), warnings.append, interval_s=0.05)
    thread.submit(lambda: snapshot_of(TRIALS[:1], status="running"))
    while not calls:
        time.sleep(0.01)
    assert thread.close(lambda: SNAPSHOT)
    assert len(ReadStore(uri).runs("trial")) == len(TRIALS)
    assert len(warnings) == 1
