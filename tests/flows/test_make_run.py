"""`make run` as a newcomer meets it: from an empty folder to a first key, twice, interrupted, and beside itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import ROOT, wait_for

pytestmark = pytest.mark.processes
SERVICE = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ACS_", "DJANGO_SETTINGS_MODULE")


@pytest.fixture
def data() -> Iterator[Path]:
    """A short path: PostgreSQL's socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="acs-run-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "data"


def environment(*, real: bool = False) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(SERVICE)}
    return {**bare, "ACS_DEMO_PORT_BASE": "0", **({} if real else {"ACS_DEMO_SIMULATOR": "1"})}


def once(data: Path, *, real: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acs.demo.run", "--once", "--data", str(data)]
    return subprocess.run(
        command, cwd=ROOT, env={**environment(real=real), **more}, capture_output=True, text=True, timeout=120, check=False
    )


@contextmanager
def serving(data: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A `make run` that goes on, and what it prints."""
    told = data.parent / "told"
    with told.open("w") as output:
        command = [sys.executable, "-m", "acs.demo.run", "--data", str(data)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output, stderr=output, text=True, start_new_session=True)
    try:
        wait_for(lambda: "Serving until" in told.read_text(), "it serves", seconds=90, log=told)
        yield process, told
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(40)


def processes_on(data: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(data) in words and "acs.demo.run" not in words:
            found.append(words)
    return found


def answered(text: str) -> dict[str, str]:
    return json.loads(re.search(r"HTTP 200\n(\{.*?\n\})", text, re.DOTALL)[1])


def test_once_bootstraps_for_real_and_a_second_run_goes_on_with_the_data(data):
    first = once(data)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "simulated" in first.stdout
    assert "A simulated device joined" in first.stdout
    assert answered(first.stdout)["auth_mode"] == "authkey"
    second = once(data)
    assert second.returncode == 0, second.stdout + second.stderr
    key = re.search(r"acs-enrol-\S{20,}", first.stdout)[0]
    assert key in second.stdout
    assert answered(first.stdout)["cluster_id"] == answered(second.stdout)["cluster_id"]
    assert answered(first.stdout)["auth_key"] != answered(second.stdout)["auth_key"]
    assert processes_on(data) == []


@pytest.mark.headscale
def test_with_headscale_on_path_the_clusters_are_real(data):
    done = once(data, real=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Cluster a: headscale" in done.stdout


def test_a_second_run_beside_it_is_refused_and_what_crashes_comes_back_and_ctrl_c_stops_everything(data):
    with serving(data) as (process, told):
        beside = once(data)
        assert beside.returncode == 1
        assert f"process {process.pid}" in beside.stderr
        [web] = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if is_child(path, process.pid, "gunicorn")]
        os.kill(web, signal.SIGKILL)
        wait_for(lambda: "web is running again" in told.read_text(), "the web server is started again", log=told)
        assert "web ended (killed by SIGKILL)" in told.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    wait_for(lambda: not processes_on(data), "nothing it started is left")


def is_child(stat: Path, parent: int, word: str) -> bool:
    try:
        ppid = int(stat.read_text().rpartition(")")[2].split()[1])
        return ppid == parent and word in (stat.parent / "cmdline").read_text()
    except OSError:
        return False


def test_killed_without_a_word_it_leaves_nothing_that_keeps_the_next_run_from_starting(data):
    with serving(data) as (process, _):
        process.kill()
        process.wait(5)
        time.sleep(1)
        again = once(data)
        assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.parametrize(
    ("more", "variable"),
    [
        ({"DATABASE_URL": "postgresql://acs_owner@127.0.0.1:1/acs"}, "DATABASE_URL_WEB"),
        ({"ACS_DEMO_PORT_BASE": "eighty"}, "ACS_DEMO_PORT_BASE"),
    ],
)
def test_contradictory_configuration_stops_the_start_and_names_the_variable(data, more, variable):
    done = once(data, **more)
    assert done.returncode == 1
    assert variable in done.stderr


@pytest.mark.parametrize("missing", ["SECRET_KEY", "ACS_KEYRING", "DATABASE_URL", "REDIS_URL", "ACS_PUBLIC_URL"])
def test_missing_configuration_stops_every_command_and_names_the_variable(missing):
    from tests.conftest import service_environment

    own = {name: value for name, value in service_environment("web").items() if name != missing}
    bare = {name: value for name, value in os.environ.items() if not name.startswith(SERVICE)}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env={**bare, **own}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"{missing} is not set" in done.stderr


def test_a_busy_port_is_named(data):
    import socket

    data.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as held:
        busy = held.getsockname()[1]
        ports = {"web": busy, "a": 1, "b": 2, "a metrics": 3, "b metrics": 4, "valkey": 5}
        (data / "ports.json").write_text(json.dumps({**ports, **{name: 40000 + number for name, number in ports.items() if name != "web"}}))
        done = once(data)
    assert done.returncode == 1
    assert f"{busy} (web)" in done.stderr


def test_make_is_all_it_takes():
    """The Makefile's own words, without running them: the demonstration's command and the environment that it needs."""
    if shutil.which("make") is None:
        pytest.skip("make is not here")
    told = subprocess.run(["make", "-n", "run", "ONCE=1"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-m acs.demo.run --once" in told
