"""Two real servers, one of them lived in: their samples differ as they should, and new tenants go to the other."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from placement import load
from placement.headscale.fleet import roles
from placement.headscale.fleet.binary import free_ports
from placement.models import Binding, Cluster, Heat
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.conftest import clusters_to_drop, fresh_cluster_id, manage, url_as
from tests.live import run_web
from tests.servers import run_headscale, run_tailscaled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.headscale, pytest.mark.tailscale]
RESIDENTS, LIVE = 300, 10


def preload(cluster_id: str) -> None:
    """Nodes of thirty tenants, as a server of this cluster would have written them, before it starts."""
    prefix = ipaddress.ip_network(Cluster.objects.get(pk=cluster_id).prefix_v4)
    with psycopg.connect(url_as(roles.login_of(cluster_id)), autocommit=True) as server:
        for number in range(RESIDENTS):
            if number % 10 == 0:
                made = server.execute(
                    "insert into users (name, provider, created_at) values (%s, '', now()) returning id", [f"resident-{number}"]
                )
                user = made.fetchone()[0]
            keys = {name: f"{prefix_}:{secrets.token_hex(32)}" for name, prefix_ in (("m", "mkey"), ("n", "nodekey"), ("d", "discokey"))}
            server.execute(
                "insert into nodes (machine_key, node_key, disco_key, endpoints, host_info, ipv4, hostname, given_name, user_id, register_method,"
                " tags, approved_routes, created_at, updated_at) values (%(m)s, %(n)s, %(d)s, '[]', '{}', %(ip)s, %(name)s::text, %(name)s::text, %(user)s,"
                " 'authkey', '[]', '[]', now(), now())",
                keys | {"ip": str(prefix[500 + number]), "name": f"resident-{number}", "user": user},
            )


def sampled(*cluster_ids: str) -> dict[str, Heat]:
    for cluster_id in cluster_ids:
        Heat.objects.filter(pk=cluster_id).update(attempted_at=None)
        assert load.pull(cluster_id, now=timezone.now())
    return {heat.pk: heat for heat in Heat.objects.all()}


def test_a_server_with_residents_and_live_clients_is_the_hotter_one_and_new_tenants_go_to_the_other(tmp_path):
    busy_id = fresh_cluster_id()
    listen, metrics = (f"127.0.0.1:{port}" for port in free_ports(2))
    words = ["--listen", listen, "--metrics-listen", metrics, "--client-url", f"http://{listen}", "--batch-timeout", "20ms"]
    manage("fleet", "add-cluster", busy_id, "--region", "eu", *words, "--out", str(tmp_path / "busy"))
    clusters_to_drop.append(busy_id)
    preload(busy_id)
    with ExitStack() as stack:
        stack.enter_context(run_headscale(tmp_path / "busy"))
        manage("cluster", "register", busy_id)
        calm_id, _server = stack.enter_context(serve_cluster(tmp_path / "calm", real=True))
        Cluster.objects.update(max_sessions=50)
        service = stack.enter_context(run_web(tmp_path, workers=1, ACS_PLACEMENT_REFRESH_SECONDS="0.5"))
        resident = factories.customer(max_devices=50, plan_fields={"expected_devices": LIVE})
        Cluster.objects.filter(pk=calm_id).update(state="cordoned")
        sampled(busy_id, calm_id)
        for number in range(LIVE):
            client = stack.enter_context(run_tailscaled(tmp_path / f"client-{number}"))
            answer = service.bootstrap(resident.secret)
            assert answer.body["cluster_id"] == busy_id, answer.body
            client.up(answer.body["headscale_url"], answer.auth_key, f"client-{number}")
        Cluster.objects.filter(pk=calm_id).update(state="active")
        deadline = time.monotonic() + 20
        heats = sampled(busy_id, calm_id)
        while heats[busy_id].sessions_smooth < LIVE * 0.8 and time.monotonic() < deadline:
            time.sleep(2)
            heats = sampled(busy_id, calm_id)
        busy, calm = heats[busy_id], heats[calm_id]
        print({name: (getattr(busy, name), getattr(calm, name)) for name in ("cpu", "sessions", "peer_seconds", "memory", "measured")})
        assert (busy.sessions, calm.sessions) == (LIVE, 0)
        assert busy.cpu > calm.cpu
        assert busy.peer_seconds > calm.peer_seconds
        assert busy.memory > calm.memory
        assert busy.measured > calm.measured + 0.1
        time.sleep(1)  # until the web process has heard of the samples
        newcomers = [factories.customer(plan_fields={"expected_devices": 1}) for _ in range(8)]
        assert [service.bootstrap(newcomer.secret).status for newcomer in newcomers] == [200] * 8
    bound = Binding.objects.across_tenants().filter(tenant__in=[newcomer.tenant for newcomer in newcomers])
    assert Counter(bound.values_list("cluster_id", flat=True)) == {calm_id: 8}
    assert timezone.now() - busy.at < timedelta(minutes=1)
