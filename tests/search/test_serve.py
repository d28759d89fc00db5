"""Exports behind MLflow's scoring server, over HTTP: by MLflow's own command, and by ours."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from search.cli import main
from search.local_server import free_port
from search.serve import serve
from space.errors import UserError
from tests.search.served_cases import (
    ALONE,
    CASES,
    alike,
    asked,
    environment,
    right,
    source_for,
    written,
)
from tests.trainers.export.sources import export
from trainers.export.bundle import Bundle

EXPERTS, NUMBER, TAGS, *OTHERS = CASES
COMMAND = Path(sys.executable).with_name("paradapt")


def posted(url, body, kind="application/json"):
    """Status and content of an answer."""
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": kind})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def body_of(case):
    """A case's rows as they are posted."""
    rows = asked(case)
    if "image" in rows:
        rows["image"] = [base64.b64encode(image).decode() for image in rows["image"]]
    return json.dumps({"dataframe_records": rows.to_dict("records")}).encode()


@contextmanager
def started(command, cwd, **variables):
    """A command that is ended, with all of its children, whatever comes."""
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=cwd,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        own = psutil.Process(process.pid) if process.poll() is None else None
        for member in [*own.children(recursive=True), own] if own else []:
            member.kill()
        process.wait(20)
        process.stdout.close()


def until_up(url, process):
    deadline = time.monotonic() + 120
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(f"{url}/ping", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("it does not answer")


@contextmanager
def served(folder, cwd):
    """`paradapt serve` on a folder: its process, its address, and the curl line that it prints."""
    port = free_port()
    command = [COMMAND, "serve", folder, "--port", port]
    with started(command, cwd) as process:
        said = []
        while not (said and said[-1].startswith("curl ")):
            line = process.stdout.readline()
            assert line, "".join(said)
            said.append(line)
        assert f"http://127.0.0.1:{port}" in said[0]
        yield process, f"http://127.0.0.1:{port}", said[-1]


def test_mlflows_own_command_serves_it_where_we_are_not_installed(tmp_path):
    bundle = written(NUMBER, tmp_path)
    (tmp_path / "sitecustomize.py").write_text(ALONE, encoding="utf-8")
    port = free_port()
    beside = str(Path(sys.executable).parent)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", tmp_path / "model"]
    command += ["--env-manager", "local", "--port", port]
    with started(
        command,
        tmp_path,
        PATH=os.pathsep.join([beside, os.environ["PATH"]]),
        PYTHONPATH=str(tmp_path),
    ) as process:
        url = f"http://127.0.0.1:{port}"
        until_up(url, process)
        status, answer = posted(url, body_of(NUMBER))
        assert status == 200
        assert alike(answer["predictions"], right(bundle, NUMBER))
        csv = asked(NUMBER).to_csv(index=False).encode()
        assert posted(url, csv, "text/csv") == (200, answer)


def running(process):
    """Whether a process runs: it is there, and not only waiting to be collected."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_our_command_serves_a_bundle_until_ctrl_c(tmp_path):
    source = source_for(EXPERTS, tmp_path / "backbone")
    export(Bundle(), source, tmp_path / "bundle")
    here = tmp_path / "here"
    here.mkdir()
    with served(tmp_path / "bundle", here) as (process, url, curl):
        status, answer = posted(url, body_of(EXPERTS))
        assert status == 200
        assert alike(answer["predictions"], right(source.bundle, EXPERTS))
        line = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60)
        assert len(json.loads(line.stdout)["predictions"]) == 1
        status, refused = posted(url, b'{"dataframe_records": [{"txet": "a"}]}')
        assert status == 400 and "text" in refused["message"]
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        # A moment for those that are about to end; one that is not collected yet has ended.
        _, alive = psutil.wait_procs(family, timeout=5)
        assert [m for m in alive if running(m)] == []
        assert "Traceback" not in process.stdout.read()
    assert list(here.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=2).close()


@pytest.mark.slow
@pytest.mark.parametrize("case", [TAGS, *OTHERS])
def test_our_command_serves_a_model_of_every_task(tmp_path, case):
    bundle = written(case, tmp_path)
    names = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    with served(tmp_path / "model", tmp_path) as (_, url, curl):
        status, answer = posted(url, body_of(case))
        assert status == 200
        assert alike(answer["predictions"], right(bundle, case))
        line = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60)
        assert len(json.loads(line.stdout)["predictions"]) == 1
    assert names == {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}


class TestRefused:
    @pytest.fixture
    def model(self, tmp_path):
        """As much of a model as is looked at before the server is started."""
        folder = tmp_path / "model"
        (folder / "code").mkdir(parents=True)
        for name in ("MLmodel", "serving_input_example.json", "code/space.py"):
            (folder / name).write_text("{}")
        from trainers.folder import write_sums

        write_sums(folder)
        return folder

    def test_a_port_in_use_is_told_with_a_free_one(self, model):
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(UserError, match=rf"Port {port} cannot be used .*--port \d+"):
                serve(model, print, port=port)

    def test_a_server_that_cannot_start_says_why(self, model):
        with pytest.raises(UserError, match=r"ended\. Its last lines"):
            serve(model, print, port=free_port())

    def test_a_folder_of_something_else(self, tmp_path):
        (tmp_path / "adapter_config.json").write_text("{}")
        with pytest.raises(UserError, match=r"no export in the format mlflow .* or bundle"):
            serve(tmp_path, print)

    def test_a_folder_that_is_not_there(self, tmp_path):
        result = CliRunner().invoke(main, ["serve", str(tmp_path / "none")])
        assert result.exit_code == 2
        assert re.search(r"no such folder; `paradapt export .* --format mlflow", result.stderr)

    def test_a_model_of_others(self, model):
        (model / "SHA256SUMS").unlink()
        with pytest.raises(UserError, match=r"not one of paradapt's .*`mlflow models serve -m"):
            serve(model, print)

    def test_code_that_was_changed_or_added(self, model):
        (model / "code" / "torch.py").write_text("x = 1")
        with pytest.raises(UserError, match=r"code/torch.py: is not listed"):
            serve(model, print)
        (model / "code" / "torch.py").unlink()
        (model / "code" / "space.py").write_text("x = 1")
        with pytest.raises(UserError, match=r"space.py: was changed"):
            serve(model, print)
