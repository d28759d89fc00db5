"""MLflow's UI for real: started, opened in Chromium at the figure of the study, stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from search import ui
from search.front import pareto_front
from search.tracking import Projection
from search.ui import free_port, running_ui, serve_ui
from space.errors import UserError
from tests.search.finished_study import finished_trials, snapshot_of, tracking_store

CHROMIUM, CHROMEDRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None, reason="Chromium and its driver are not installed"
)
SNAPSHOT = snapshot_of(finished_trials())
POINTS_OF_THE_FRONT = """
    const front = [...document.querySelectorAll('.scatterlayer .trace')].filter(
        trace => trace.__data__[0].trace.name.startsWith('Pareto front'));
    return front.flatMap(trace => [...trace.querySelectorAll('.points path')]).length;
"""


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    uri = tracking_store(tmp_path_factory.mktemp("store"))
    Projection(uri, "quickstart").update(SNAPSHOT)
    return uri


@pytest.fixture
def browser(tmp_path):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1366,768",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


def front_points(browser):
    """The plotted points of the front, in the page or in the frame that shows the artifact."""
    browser.switch_to.default_content()
    for frame in browser.find_elements("tag name", "iframe"):
        browser.switch_to.frame(frame)
        if count := browser.execute_script(POINTS_OF_THE_FRONT):
            return count
        browser.switch_to.default_content()
    return browser.execute_script(POINTS_OF_THE_FRONT)


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "nothing came within the time"
        time.sleep(0.3)
    return result


@needs_chromium
def test_mlflows_ui_opens_at_the_figure_with_every_point_of_the_front(tracked, browser, tmp_path):
    with running_ui(tracked, "quickstart", port=free_port()) as (url, server):
        browser.get(url)
        n_points = wait_for(lambda: front_points(browser))
        if shots := os.environ.get("PARADAPT_SHOTS"):
            time.sleep(2)
            browser.save_screenshot(str(Path(shots, "mlflow.png")))
    assert n_points == len(pareto_front(SNAPSHOT.trials, SNAPSHOT.directions))
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)


def test_a_port_in_use_is_told_with_a_free_one(tracked):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} cannot be used .*--port \d+"):
            serve_ui(tracked, "quickstart", print, port=port)


def test_a_tracking_server_has_its_own_ui(monkeypatch):
    monkeypatch.setattr(ui, "_page", lambda uri, name: "/#/experiments/1")
    shown = []
    serve_ui("http://me:secret@host:5000/", "quickstart", shown.append)
    assert shown == ["http://***@host:5000/#/experiments/1"]


def test_a_server_that_does_not_answer_is_told_without_the_password():
    with pytest.raises(UserError) as raised:
        serve_ui(f"http://me:secret@127.0.0.1:{free_port()}", "quickstart", print)
    assert "does not answer" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_server_that_cannot_start_says_why(tracked, monkeypatch):
    monkeypatch.setattr(ui.sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match="ended"):
        serve_ui(tracked, "quickstart", print, port=free_port())


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_sigterm_ends_the_server_with_its_children(tracked, tmp_path, wish):
    port = free_port()
    code = f"""
from search.ui import serve_ui
serve_ui({tracked!r}, "quickstart", lambda url: print(url, flush=True), port={port})
print("ended", flush=True)
"""
    here = tmp_path / "here"
    here.mkdir()
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=here,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        url = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/#/experiments/" in url
        assert "artifactPath/pareto.html" in url
        process.send_signal(wish)
        assert process.stdout.readline() == "ended\n"
        assert process.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    assert list(here.iterdir()) == []
