"""MLflow's UI for real: started, opened in Chromium at the figure of the study, stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from search import ui
from search.experiment_view import view_address
from search.mlflow_client import new_client
from search.pages.knobs import knobs_of
from search.pages.layer_map import layer_map
from search.pages.table import PAGES
from search.tracking import Projection
from search.ui import free_port, running_ui, serve_ui
from space.errors import UserError
from tests.search.chromium import browser, needs_chromium, show_in
from tests.search.finished_study import finished_trials, snapshot_of, tracking_store

__all__ = ["browser"]
DATA = tuple(
    {
        "name": "tickets",
        "context": side,
        "fingerprint": letter * 64,
        "n_rows": n_rows,
        "source": "/data/tickets.csv",
        "classes": {"billing": n_rows // 2, "login": n_rows // 2},
    }
    for side, letter, n_rows in (("train", "a", 3000), ("validation", "b", 500))
)
TRIALS = finished_trials(40)
SNAPSHOT = snapshot_of(TRIALS, datasets=DATA)
DRAWN = """
    const plots = [...document.querySelectorAll('.plot')];
    if (!plots.length || !plots.every((plot) => plot.dataset.drawn)) return null;
    const count = (what) => document.querySelectorAll('.plot ' + what).length;
    return {
        points: count('.scatterlayer .points path'), lines: count('.scatterlayer .js-line'),
        bars: count('.barlayer .point path'), cells: count('.heatmap-label text'),
        axes: count('.parcoords .y-axis'), subplots: count('.cartesianlayer .subplot'),
        traces: Object.fromEntries(plots.flatMap((plot) => plot.data).map(
            (trace) => [trace.name, (trace.x || []).length])),
    };
"""
MISPLACED = """
    // Names of things, ticks and labels that are cut off, or that lie on each other.
    const found = [];
    for (const plot of document.querySelectorAll('.plot')) {
        const box = plot.getBoundingClientRect();
        const texts = [...plot.querySelectorAll('text')].filter((text) =>
            text.textContent.trim() && !text.closest('.parcoords, .bars, .heatmap-label')
            && !/rotate\\(-25/.test(text.getAttribute('transform'))  // its box says little
            && getComputedStyle(text).opacity > 0 && text.getBoundingClientRect().width > 0);
        const places = texts.map((text) => [text.textContent, text.getBoundingClientRect(), text]);
        for (const [text, own] of places) {
            if (own.left < box.left - 2 || own.right > box.right + 2 || own.top < box.top - 2
                || own.bottom > box.bottom + 2) found.push('cut: ' + text);
        }
        places.forEach(([text, own, element], index) => {
            for (const [other, their, beside] of places.slice(index + 1)) {
                if (element.contains(beside) || beside.contains(element)) continue;
                const across = Math.min(own.right, their.right) - Math.max(own.left, their.left);
                const along = Math.min(own.bottom, their.bottom) - Math.max(own.top, their.top);
                if (across > 2 && along > 3) found.push(text + ' on ' + other);
            }
        });
    }
    return found;
"""
WORDS = "return document.querySelector('h1') ? document.body.innerText : '';"


class Site:
    """MLflow's UI on a store, and where a study's pages are on it."""

    def __init__(self, url, uri):
        self.base = url.partition("/#")[0]
        self.uri = uri

    def of(self, study):
        client = new_client(self.uri)
        experiment = client.get_experiment_by_name(study).experiment_id
        (parent,) = client.search_runs([experiment], "tags.`paradapt.kind` = 'study'")
        return experiment, parent.info.run_id

    def artifact(self, study, name):
        experiment, run = self.of(study)
        return f"{self.base}/#/experiments/{experiment}/runs/{run}/artifactPath/{name}{MODE}"


MODE = "?workflowType=machine_learning"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    uri = tracking_store(tmp_path_factory.mktemp("store"))
    Projection(uri, "quickstart").update(SNAPSHOT)
    return uri


@pytest.fixture(scope="module")
def site(tracked):
    with running_ui(tracked, "quickstart", port=free_port()) as (url, _):
        yield Site(url, tracked)


def opened(browser, url):
    """Open an address; MLflow's own assistant, which opens by itself once, is put away."""
    browser.get("about:blank")
    browser.get(url)
    if url.startswith("http"):
        browser.execute_script(
            "localStorage['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1'] = 'true';"
            "localStorage['mlflow.assistant.panelOpen_v1'] = 'false';"
        )
        browser.refresh()


def in_frame(browser, script):
    """What a script returns in the page, or in the frame that shows an artifact."""
    browser.switch_to.default_content()
    for frame in browser.find_elements("tag name", "iframe"):
        browser.switch_to.frame(frame)
        if found := browser.execute_script(script):
            return found
        browser.switch_to.default_content()
    return browser.execute_script(script)


def shot(browser, name):
    if shots := os.environ.get("PARADAPT_SHOTS"):
        time.sleep(1)
        browser.save_screenshot(str(Path(shots, f"{name}.png")))


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "nothing came within the time"
        time.sleep(0.3)
    return result


def text_of(browser):
    return browser.find_element("tag name", "body").text


def expected(name):
    """What a page must have drawn of the finished study."""
    trained, front = SNAPSHOT.trained, SNAPSHOT.front
    knobs = knobs_of(trained)
    ends = Counter(trial.user_attrs["end"] for trial in TRIALS)
    params = {param for trial in trained for param in trial.params}
    cells = sum(cell.share > 0 for t in (front, trained) for row in map_of(t) for cell in row)
    return {
        "pareto.html": lambda d: (
            d["traces"][f"Pareto front ({len(front)})"] == len(front)
            and d["points"] == len(trained) + ends["pruned"] + 1
        ),
        "hypervolume.html": lambda d: d["points"] == 3 * len(trained) and d["lines"] == 3,
        "importance.html": lambda d: d["bars"] == 2 * len(params),
        "sensitivity.html": lambda d: (
            d["subplots"] == 2 * len(knobs) and d["points"] > 2 * len(trained)
        ),
        "parallel.html": lambda d: d["axes"] == len([k for k in knobs if k.title != "roles"]) + 2,
        "layers.html": lambda d: d["cells"] == cells,
        "pruning.html": lambda d: d["points"] == len(TRIALS) and d["bars"] >= 1,
        "timeline.html": lambda d: d["bars"] == len(TRIALS),
    }[name]


def map_of(trials):
    return layer_map([t for t in trials if "baseline" not in t.user_attrs]).values()


@needs_chromium
@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_drawn_in_mlflows_ui_with_all_its_points(site, browser, name):
    opened(browser, site.artifact("quickstart", name))
    drawn = wait_for(lambda: in_frame(browser, DRAWN))
    assert expected(name)(drawn), drawn
    assert in_frame(browser, MISPLACED) == []
    shot(browser, f"mlflow-{name}")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_no_label_of_a_page_is_cut_or_lies_on_another(browser, tmp_path, name, scheme):
    path = tmp_path / name
    path.write_text(PAGES[name](SNAPSHOT), encoding="utf-8")
    show_in(browser, scheme)
    for width in (1280, 560):
        browser.set_window_size(width, 800)
        opened(browser, path.as_uri())
        wait_for(lambda: in_frame(browser, DRAWN))
        shot(browser, f"{name}-{scheme}-{width}")
        assert in_frame(browser, MISPLACED) == []
    browser.set_window_size(1280, 800)
    show_in(browser, "")


@needs_chromium
def test_a_running_study_shows_its_points_and_then_more(site, browser):
    few, more = TRIALS[:8], TRIALS[:20]
    running = Projection(site.uri, "running")
    running.update(snapshot_of(few, study_name="running", status="running"))
    for trials, names in ((few, PAGES), (more, ("pareto.html", "timeline.html"))):
        running._drawn_s = float("-inf")
        snapshot = snapshot_of(trials, study_name="running", status="running")
        running.update(snapshot)
        for name in names:
            opened(browser, site.artifact("running", name))
            if name == "importance.html":  # too few to tell, and it says so
                wait_for(lambda: "6 sampled trials are complete" in in_frame(browser, WORDS))
                continue
            drawn = wait_for(lambda: in_frame(browser, DRAWN))
            if name == "pareto.html":
                front = len(snapshot.front)
                assert drawn["traces"][f"Pareto front ({front})"] == front
            if name == "timeline.html":
                assert drawn["bars"] == len(trials)
    experiment, run = site.of("running")
    opened(browser, f"{site.base}/#/experiments/{experiment}/runs/{run}{MODE}")
    wait_for(lambda: "Running" in text_of(browser))


@needs_chromium
def test_the_description_says_what_was_asked_and_found(site, browser):
    experiment, run = site.of("quickstart")
    opened(browser, f"{site.base}/#/experiments/{experiment}/runs/{run}{MODE}")
    wait_for(lambda: "Show more" in text_of(browser))
    browser.find_element("xpath", "//*[text()='Show more']").click()
    wait_for(lambda: "Show less" in text_of(browser))
    text = text_of(browser)
    shot(browser, "description")
    assert SNAPSHOT.question in text
    assert f"Recommended: trial {SNAPSHOT.knee.number}" in text
    assert "LoRA in all layers" in text
    assert SNAPSHOT.next_commands[0] in text
    assert f"tickets ({'a' * 36})" in text  # a data set with its fingerprint
    rows = browser.find_elements("css selector", "table tr")
    cells = {row.text.split(" ")[0] for row in rows}
    assert {str(trial.number) for trial in SNAPSHOT.front} <= cells
    link = browser.find_element("partial link text", "All trials as a table")
    assert "viewStateShareKey=paradapt" in link.get_attribute("href")


@needs_chromium
def test_the_experiment_is_listed_and_is_of_model_training(site, browser):
    opened(browser, f"{site.base}/#/experiments{MODE}")
    wait_for(lambda: browser.find_elements("link text", "quickstart"))
    shot(browser, "experiments")
    experiment = new_client(site.uri).get_experiment_by_name("quickstart")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def titles(browser):
    """Of the axes of all charts that MLflow draws."""
    script = "return [...document.querySelectorAll('.xtitle, .ytitle')].map(e => e.textContent)"
    return set(browser.execute_script(script))


def open_chart(browser, url, n_tries=4):
    """Open the view of charts.

    Where MLflow draws before it has read the view, it shows a chart of its own and keeps that in
    the browser: what is kept is forgotten, and the page opened again.
    """
    for last in (False,) * (n_tries - 1) + (True,):
        opened(browser, url)
        try:
            wait_for(lambda: {"accuracy", "inference_gflops"} <= titles(browser), timeout_s=30)
            return
        except AssertionError:
            if last:
                raise
            browser.execute_script("localStorage.clear(); sessionStorage.clear();")


@needs_chromium
def test_the_view_made_ready_has_the_columns_and_the_chart_that_matter(site, browser):
    experiment, _ = site.of("quickstart")
    opened(browser, f"{site.base}/{view_address(experiment)}")
    best = max(TRIALS, key=lambda t: t.user_attrs["metrics"]["accuracy"])
    runs = f"\n{len(TRIALS)} matching runs"  # before they are read it says 0
    wanted = ("accuracy", "inference_gflops", f"trial {best.number}\n", runs)
    wait_for(lambda: all(words in text_of(browser) for words in wanted))
    shot(browser, "view")
    open_chart(browser, f"{site.base}/{view_address(experiment, chart=True)}")
    wait_for(
        lambda: browser.execute_script(
            "return document.querySelectorAll('.scatterlayer .points path').length"
        )
    )
    shot(browser, "chart")
    assert {"accuracy", "inference_gflops"} <= titles(browser)


@needs_chromium
def test_the_server_ends_with_all_its_children(tracked):
    with running_ui(tracked, "quickstart", port=free_port()) as (url, server):
        assert "artifactPath/pareto.html" in url
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
