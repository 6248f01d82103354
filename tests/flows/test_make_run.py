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

from acs.demo.means import answers
from tests.live import ROOT, wait_for

pytestmark = pytest.mark.processes
SERVICE = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ACS_", "DJANGO_SETTINGS_MODULE", "DEVICE")


@pytest.fixture
def data() -> Iterator[Path]:
    """A short path: PostgreSQL's socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="acs-run-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "data"


def environment(*, real: bool = False) -> dict[str, str]:
    return {**bare(), "ACS_DEMO_PORT_BASE": "0", "ACS_HASHED_AHEAD": "50", **({} if real else {"ACS_DEMO_SIMULATOR": "1"})}


def bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(SERVICE)}


def once(data: Path, *, real: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acs.demo.run", "--once", "--data", str(data)]
    return subprocess.run(
        command, cwd=ROOT, env={**environment(real=real), **more}, capture_output=True, text=True, timeout=180, check=False
    )


@contextmanager
def serving(data: Path, until: str = "Serving until") -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A `make run` that goes on, and what it prints."""
    told = data.parent / "told"
    with told.open("w") as output:
        command = [sys.executable, "-m", "acs.demo.run", "--data", str(data)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output, stderr=output, text=True, start_new_session=True)
    try:
        wait_for(lambda: until in told.read_text(), "it serves", seconds=150, log=told)
        yield process, told
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def processes_on(data: Path) -> list[str]:
    """Command lines of living processes that name the folder, or were told it in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            told = (path / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if words and (str(data) in words or f"ACS_STATIC_ROOT={data}" in told):
            found.append(words)
    return found


def children(parent: int, word: str) -> list[int]:
    """Process ids of the children of a process whose command line has the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_child = int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if is_child and word in (path / "cmdline").read_text():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def answered(text: str) -> dict[str, str]:
    return json.loads(re.search(r"HTTP 200\n(\{.*?\n\})", text, re.DOTALL)[1])


def told_of(text: str, what: str) -> str:
    return re.search(rf"^{what} +(\S+)", text, re.MULTILINE)[1]


def test_a_second_run_goes_on_with_the_data_what_crashes_comes_back_and_nothing_is_left(data):
    first = once(data)
    assert first.returncode == 0, first.stdout + first.stderr
    assert told_of(first.stdout, "Cluster a") == "simulated"
    assert "A simulated device joined with that key: demo-device, 100." in first.stdout
    assert answered(first.stdout)["auth_mode"] == "authkey"
    assert processes_on(data) == []
    with serving(data) as (process, told):
        goes_on(first.stdout, told.read_text())
        beside = once(data)
        assert beside.returncode == 1
        assert f"process {process.pid}" in beside.stderr
        clean = subprocess.run([sys.executable, "-m", "acs.demo.clean", str(data)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert clean.returncode == 1
        crash_everything(data, process, told)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "Stopping." in told.read_text()
    assert processes_on(data) == []
    assert subprocess.run([sys.executable, "-m", "acs.demo.clean", str(data)], cwd=ROOT, check=False).returncode == 0
    assert not data.exists()


def goes_on(first: str, second: str) -> None:
    assert told_of(first, "Enrolment") == told_of(second, "Enrolment")
    assert answered(first)["cluster_id"] == answered(second)["cluster_id"]
    assert answered(first)["auth_key"] != answered(second)["auth_key"], "the first key is used up"
    assert address(first) == address(second), "the same device on the same slot"


def address(text: str) -> str:
    return re.search(r"joined with that key: demo-device, ([\d.]+)", text)[1]


@pytest.mark.tailscale
def test_with_headscale_on_path_the_clusters_are_real_and_a_real_device_joins(data):
    done = once(data, real=True, DEVICE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert told_of(done.stdout, "Cluster a") == "headscale"
    assert "A real device joined with that key: demo-device, 100." in done.stdout
    assert processes_on(data) == []


def crash_everything(data: Path, process: subprocess.Popen[str], told: Path) -> None:
    [web] = children(process.pid, "gunicorn")
    wait_for(lambda: len(children(web, "gunicorn")) == 2, "its workers run")
    time.sleep(3)  # the supervisor has looked at them
    lost = children(web, "gunicorn")[0]
    os.kill(lost, signal.SIGKILL)
    wait_for(lambda: f"web: its worker process {lost} ended" in told.read_text(), "a lost worker is reported", log=told)
    os.kill(children(process.pid, "gunicorn")[0], signal.SIGKILL)
    os.kill(children(process.pid, "clusters/a")[0], signal.SIGKILL)
    os.kill(int((data / "pg" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    for name in ("web", "cluster a", "PostgreSQL"):
        wait_for(lambda name=name: f"{name} is running again" in told.read_text(), f"{name} is started again", seconds=30, log=told)
    assert "cluster a ended (killed by SIGKILL)" in told.read_text()
    url = json.loads((data / "ports.json").read_text())["web"]
    wait_for(lambda: answers(f"http://127.0.0.1:{url}/readyz"), "the service is fit for work again", seconds=40, log=told)


def test_of_a_run_that_is_killed_its_guardian_leaves_nothing(data):
    with serving(data, until="Cluster a") as (process, _told):
        assert len(processes_on(data)) > 2
        process.kill()
        process.wait(5)
        wait_for(lambda: not processes_on(data), "its guardian ends what a killed one left", seconds=40)


OWNER = "postgresql://acs_owner@127.0.0.1:1/acs"


@pytest.mark.parametrize(
    ("more", "variable"),
    [
        ({"DATABASE_URL": OWNER}, "DATABASE_URL_WEB is not set"),
        ({"DATABASE_URL_WEB": OWNER}, "DATABASE_URL_WEB is set and DATABASE_URL is not"),
        ({"DATABASE_URL": OWNER, "DATABASE_URL_WEB": OWNER}, "DATABASE_URL_WEB logs in as acs_owner"),
        (
            {"DATABASE_URL": OWNER, "DATABASE_URL_WEB": "postgresql://acs_web@127.0.0.1:1/other"},
            "DATABASE_URL_WEB and DATABASE_URL name different databases",
        ),
        (
            {
                "DATABASE_URL": OWNER,
                **{f"DATABASE_URL_{role.upper()}": f"postgresql://acs_{role}@127.0.0.1:1/acs" for role in ("web", "worker")},
            },
            "DATABASE_URL: ",
        ),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL: "),
        ({"ACS_DEMO_PORT_BASE": "eighty"}, "ACS_DEMO_PORT_BASE must be"),
        ({"ACS_TENANT_DOMAIN": "net.example.com"}, "ACS_GATEWAY_SOCKETS is not set"),
    ],
)
def test_contradictory_configuration_stops_the_start_and_names_the_variable(data, more, variable):
    done = once(data, **more)
    assert done.returncode == 1
    assert variable in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_on(data) == []


def test_a_keyring_that_does_not_open_the_kept_data_is_refused(data):
    data.mkdir()
    (data / "secrets.json").write_text(json.dumps({"ACS_KEYRING": "d1:AAAA"}))
    done = once(data, ACS_KEYRING="k2:" + "A" * 43 + "=")
    assert done.returncode == 1
    assert "ACS_KEYRING lacks a key" in done.stderr


@pytest.mark.parametrize("missing", ["SECRET_KEY", "ACS_KEYRING", "DATABASE_URL", "REDIS_URL", "ACS_PUBLIC_URL"])
def test_missing_configuration_stops_every_command_and_names_the_variable(missing):
    from tests.conftest import service_environment

    own = {name: value for name, value in service_environment("web").items() if name != missing}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env={**bare(), **own}, capture_output=True, text=True, check=False
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
