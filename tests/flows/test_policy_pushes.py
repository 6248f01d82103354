"""Policies reach their servers through kills, races, late writers and lost documents: what runs in the end is what the tenants wrote last."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from acs.poll import poll
from placement import policy
from placement.models import Cluster, ClusterPolicy, Device, PolicyPush
from placement.policies import writers
from placement.policies.compiling import compile_cluster
from placement.policies.gathering import gather
from placement.policies.pushing import push
from tenants.models import Tenant
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.conftest import ROOT, manage, service_environment
from tests.doors import bootstrap
from tests.live import STEP, together
from tests.placement.policies.pushed import PolicyServer, allows, row, running_number, serving, settled, write
from tests.servers import Server, machine

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cluster(fleet_cluster: Any) -> Cluster:
    found: Cluster = fleet_cluster.row
    return found


@pytest.fixture
def server(fleet_cluster: Any) -> Iterator[PolicyServer]:
    with serving(fleet_cluster) as running:
        yield running


def wanted(cluster: Cluster) -> str:
    return compile_cluster(gather(cluster.pk).fact).text


# ---- kills -------------------------------------------------------------------------------------------------------------------
@contextmanager
def crashing_writers(folder: Path) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, **service_environment("worker"), "DJANGO_SETTINGS_MODULE": "acs.settings"}
    with (
        (folder / "writers.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "tests.crash_push"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        yield process
        process.stdin.close()


def crash(process: subprocess.Popen[str], cluster: Cluster, number: int, when: str) -> bool:
    """A writer begins and kills itself at that point. False when it has fewer points than that."""
    print(cluster.pk, f"{number}:{when}", file=process.stdin, flush=True)
    status = int(process.stdout.readline())
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_a_writer_killed_anywhere_leaves_the_right_document_to_the_next_one(cluster, server, tmp_path):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    settled(cluster, "bolt", "", "c")
    places = itertools.islice(((number, when) for number in itertools.count(1) for when in ("before", "after")), 0, None, STEP)
    with crashing_writers(tmp_path) as process:
        for number, when in places:
            version, already = write(tenant, allows("a", "b", 1000 + 2 * number + (when == "after"))), len(server.puts)
            crashed = crash(process, cluster, number, when)
            push(cluster.pk, timezone.now() + writers.LEASE + timedelta(seconds=1))
            where = f"{number}:{when}"
            assert server.policy == wanted(cluster), where
            assert row(cluster).running.document == server.policy, where
            assert (row(cluster).done, running_number(tenant)) == (row(cluster).wanted, version.number), where
            assert not PolicyPush.objects.filter(state="pushing").exists(), where
            assert len(server.puts) - already == 1, f"{where}: a document that the server has is not pushed again"
            if not crashed:
                break
    assert number > 20, "a push has more statements and calls than that"


# ---- races -------------------------------------------------------------------------------------------------------------------
def test_many_writers_at_once_push_once(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    done = together([lambda: push(cluster.pk, timezone.now())] * 6)
    assert len([one for one in done if one is not None]) == 1
    assert server.puts == [wanted(cluster)]


def test_wishes_that_come_while_a_document_is_on_its_way_are_carried_out_by_the_next_push(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")

    def meanwhile() -> None:
        server.before_put = lambda: None
        write(tenant, allows("a", "b", 443))
        connection.close()

    server.before_put = meanwhile
    push(cluster.pk, timezone.now())
    assert running_number(tenant) == 1
    assert row(cluster).wanted_at is not None
    assert writers.ripe(now=timezone.now() + writers.LONGEST_WAIT) == [cluster.pk]
    push(cluster.pk, timezone.now())
    assert (running_number(tenant), server.policy) == (2, wanted(cluster))


def test_a_writer_whose_lease_ends_while_the_server_thinks_writes_nothing_down_and_the_next_one_looks(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")

    def overtake() -> None:
        """The lease is over, and another writer brings a newer document before this one's arrives."""
        server.before_put = lambda: None
        ClusterPolicy.objects.filter(pk=cluster.pk).update(lease_until=None)
        write(tenant, allows("a", "b", 443))
        push(cluster.pk, timezone.now())
        connection.close()

    server.before_put = overtake
    assert push(cluster.pk, timezone.now()) is None
    assert '"22"' in server.policy, "the late one came last"
    push(cluster.pk, timezone.now())
    assert server.policy == wanted(cluster)
    assert (running_number(tenant), row(cluster).running.document) == (2, server.policy)


# ---- servers -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.tailscale)], ids=["simulated", "real"])
def test_what_a_tenant_wrote_runs_on_its_server_and_comes_back_when_the_server_lost_it(tmp_path, real):
    with serve_cluster(tmp_path / "hs", real=real) as (cluster_id, server), two_devices(cluster_id, server, tmp_path) as tenant:
        cluster = Cluster.objects.get(pk=cluster_id)
        write(tenant, allows("dev-0", "dev-1", 22, tests=[{"src": "dev-0", "accept": ["dev-1:22"], "deny": ["dev-1:23"]}]))
        said = manage("policies", "now", cluster_id, role="worker").stdout
        assert f"{cluster_id} runs #" in said
        with server.admin() as admin:
            assert admin.policy().document == wanted(cluster) != policy.base()
            running = row(cluster).running
            admin.put_policy(policy.base())
            assert "replaced" in manage("cluster", "register", cluster_id).stdout
            assert admin.policy().document == running.document
        write(tenant, allows("dev-0", "dev-1", 22, tests=[{"src": "dev-0", "accept": ["dev-1:80"]}]))
        assert "runs #" in manage("policies", "now", cluster_id, role="worker").stdout
        assert running_number(tenant) == 1
        status = manage("policies", "status", cluster_id, role="worker").stdout
        assert running.form in status
        assert manage("policies", "show", str(running.pk), role="worker").stdout == running.document
        assert "stored" in manage("policies", "history", cluster_id, role="web").stdout
        assert "+" in manage("policies", "diff", str(running.pk), role="web").stdout


@contextmanager
def two_devices(cluster_id: str, server: Server, folder: Path) -> Iterator[Tenant]:
    """dev-0 and dev-1, which joined the server, as ACS has seen them."""
    customer = factories.customer()
    with machine(server, folder / "0") as one, machine(server, folder / "1") as other:
        for number, joining in enumerate((one, other)):
            joining.join(bootstrap(customer.secret, {"registration_id": f"dev-{number}"}).json()["auth_key"], f"dev-{number}")
        poll(cluster_id, now=timezone.now())
        assert Device.objects.of(customer.tenant).count() == 2
        yield customer.tenant
