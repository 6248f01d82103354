"""The servers on which every assertion of this folder runs: the simulator and headscale, each alone and on the fleet's schema."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from placement.headscale.admin import Admin, Policy, PreAuthKey, User
from tests.conftest import clusters_to_drop, make_fleet_cluster
from tests.servers import Machine, Server, machine, run_headscale, run_simulator

KINDS = [
    pytest.param(("simulator", "alone"), id="simulator"),
    pytest.param(("simulator", "fleet"), id="simulator-on-fleet"),
    pytest.param(("headscale", "alone"), id="headscale", marks=pytest.mark.headscale),
    pytest.param(("headscale", "fleet"), id="headscale-on-fleet", marks=pytest.mark.headscale),
]
serial = itertools.count(1)


@pytest.fixture(scope="package", params=KINDS)
def newborn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Policy | None]]:
    """One server of each kind for the whole folder, and the policy that it had before anybody stored one."""
    program, home = request.param
    folder: Path = tmp_path_factory.mktemp(f"{program}-{home}")
    plan: dict[str, Any] = {}
    if home == "fleet":
        request.getfixturevalue("django_db_setup")
        cluster = make_fleet_cluster()
        clusters_to_drop.remove(cluster.cluster_id)  # it outlives the first test
        plan = {"database_url": cluster.url, "prefix_v4": cluster.prefix_v4, "prefix_v6": cluster.prefix_v6}
    run = run_simulator if program == "simulator" else run_headscale
    with run(folder, **plan) as running:
        with running.admin() as admin:
            policy = admin.policy()
        yield running, policy
    if home == "fleet":
        clusters_to_drop.append(cluster.cluster_id)


@pytest.fixture(scope="package", params=[param for param in KINDS if "alone" in param.values[0]])
def lone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second server of each program, for tests to which its database makes no difference: a module of theirs calls it `server`."""
    run = run_simulator if request.param[0] == "simulator" else run_headscale
    with run(tmp_path_factory.mktemp(request.param[0])) as running:
        yield running


@pytest.fixture(scope="package")
def server(newborn: tuple[Server, Policy | None]) -> Server:
    """Tests make users of their own on it."""
    return newborn[0]


@pytest.fixture
def admin(server: Server) -> Iterator[Admin]:
    with server.admin() as client:
        yield client


@pytest.fixture
def user(admin: Admin) -> User:
    """A user of the test's own."""
    return admin.make_user(f"tenant{next(serial)}")


@pytest.fixture
def new_key(admin: Admin, user: User) -> Callable[..., PreAuthKey]:
    """A key of the test's user, good for an hour."""
    return lambda **wish: admin.make_key(user.id, datetime.now(UTC) + timedelta(hours=1), **wish)


@pytest.fixture
def new_machine(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Machine]]:
    if server.is_real and not (shutil.which("tailscaled") and shutil.which("tailscale")):
        pytest.skip("tailscale, tailscaled not on PATH")
    with ExitStack() as running:
        yield lambda: running.enter_context(machine(server, tmp_path_factory.mktemp("ts")))
