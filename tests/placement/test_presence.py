"""A complete look, compared by the database: what is as it was is not touched, every difference is found, and numbers do not matter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from acs import poll as polling
from acs.poll import Observation
from placement import devices, presence
from placement.devices import COPIED, Sighting
from placement.models import Binding, Cluster, Device, Watch
from tests import factories

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture
def tenant(fleet_cluster):
    made = factories.tenant()
    Binding.objects.create(tenant=made, cluster=fleet_cluster.row, headscale_user_id=1, expected_load=5, reason="tests")
    return made


def sighting(tenant: Any, number: int = 1, **fields: Any) -> Sighting:
    base = {
        "node_id": number, "account": tenant.account, "key_id": None, "machine_key": f"mkey:{number}", "node_key": f"nodekey:{number}",
        "ipv4": f"100.64.1.{number}", "ipv6": f"fd7a:115c:a1e0::1:{number}", "hostname": f"host-{number}", "name": f"host-{number}", "tags": (),
        "ephemeral": False, "joined_at": NOW - timedelta(days=1), "last_seen": None, "key_expires_at": None, "online": True,
    }  # fmt: skip
    return Sighting(**{**base, **fields})


def look(cluster: Any, *seen: Sighting, at: datetime = NOW) -> devices.Observed:
    observed = devices.observe(cluster.cluster_id, list(seen), seen_at=at, now=at, complete=True)
    Watch.objects.filter(pk=cluster.cluster_id).update(complete_at=at)
    return observed


def stored(sight: Sighting, tenant: Any, cluster: Any, **more: Any) -> Device:
    facts = {name: getattr(sight, name) for name in COPIED}
    return Device.objects.create(
        tenant=tenant, cluster_id=cluster.cluster_id, node_id=sight.node_id, tags=list(sight.tags), online=bool(sight.online),
        joined_at=sight.joined_at, seen_at=NOW - timedelta(hours=1), **facts, **more,
    )  # fmt: skip


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\x1e\x1f"), max_size=20)
SIGHTS = st.fixed_dictionaries(
    {
        "hostname": TEXT, "name": TEXT, "machine_key": TEXT, "node_key": TEXT,
        "ipv4": st.none() | st.ip_addresses(v=4).map(str),
        "ipv6": st.none() | st.sampled_from(["fd7a:115c:a1e0::1", "fd7a:115c:a1e0:0:1::1", "2001:db8::", "fd7a:115c:a1e0:ab12:4843:cd96:6258:b240"]),
        "tags": st.lists(st.sampled_from(["tag:acme--web", "tag:acme--db", "tag:x"]), max_size=3).map(tuple),
        "ephemeral": st.booleans(),
        "key_expires_at": st.none() | st.timedeltas(timedelta(0), timedelta(days=70_000)).map(lambda after: datetime(1999, 1, 1, tzinfo=UTC) + after),
    }
)  # fmt: skip


@given(first=SIGHTS, second=SIGHTS)
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_device_differs_from_what_is_shown_of_it_exactly_if_something_of_it_does(fleet_cluster, tenant, first, second):
    Device.objects.across_tenants().delete()
    shown, other = sighting(tenant, **first), sighting(tenant, **second)
    stored(shown, tenant, fleet_cluster)
    for seen in (shown, other):
        found = presence.compare(fleet_cluster.cluster_id, [seen], seen_at=NOW, before=None)
        assert (found.new, found.missing) == (set(), [])
        assert found.differing == (set() if seen == shown else {1})


def test_of_devices_that_are_as_they_were_nothing_is_written(fleet_cluster, tenant):
    seen = [sighting(tenant, number) for number in range(1, 40)]
    assert look(fleet_cluster, *seen).differing == frozenset(range(1, 40))
    before = dict(Device.objects.of(tenant).values_list("node_id", "seen_at"))
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert look(fleet_cluster, *seen, at=NOW + timedelta(seconds=30)) == (0, frozenset())
    assert dict(Device.objects.of(tenant).values_list("node_id", "seen_at")) == before
    assert len(asked) < 25, "however many devices there are"


def test_who_is_online_was_seen_minutes_ago_at_most_and_each_row_has_its_own_turn(fleet_cluster, tenant):
    seen = [sighting(tenant, number) for number in range(1, 41)]
    look(fleet_cluster, *seen)
    written = []
    for minute in range(1, 31):
        now = NOW + timedelta(minutes=minute)
        known = dict(Device.objects.of(tenant).values_list("node_id", "last_seen"))
        look(fleet_cluster, *seen, at=now)
        told = dict(Device.objects.of(tenant).values_list("node_id", "last_seen"))
        assert all(now - last <= timedelta(minutes=10) for last in told.values())
        written.append(sum(told[node] != known[node] for node in told))
    assert max(written) <= 20
    assert sum(written) <= 40 * 6


def test_who_has_left_was_seen_until_the_look_before(fleet_cluster, tenant):
    look(fleet_cluster, sighting(tenant, 1), sighting(tenant, 2))
    for second in (30, 60, 90):
        look(fleet_cluster, sighting(tenant, 1), sighting(tenant, 2), at=NOW + timedelta(seconds=second))
    said = NOW + timedelta(seconds=100)
    look(
        fleet_cluster, sighting(tenant, 1, online=False, last_seen=said), sighting(tenant, 2, online=False), at=NOW + timedelta(seconds=120)
    )
    first, second = Device.objects.of(tenant).order_by("node_id")
    assert (first.online, first.last_seen, second.last_seen) == (False, said, NOW + timedelta(seconds=90))
    assert first.first_online_at == NOW


def test_a_node_is_shown_to_be_anothers(fleet_cluster, tenant):
    look(fleet_cluster, sighting(tenant))
    assert look(fleet_cluster, replace(sighting(tenant), account="somebody"), at=NOW + timedelta(seconds=30)).differing == {1}


def test_a_poll_of_more_nodes_than_a_statement_has_parameters(fleet_cluster, tenant):
    """PostgreSQL takes 65,535 of them."""
    size, cluster = 70_000, Cluster.objects.get(pk=fleet_cluster.cluster_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into placement_device (id, tenant_id, cluster_id, node_id, machine_key, node_key, ipv4, ipv6, hostname, name, tags, ephemeral, online,"
            " joined_at, seen_at, unexpected) select gen_random_uuid(), %s, %s, n, 'mkey', 'nodekey', null, null, 'h', 'h', '{}', false, false, %s, %s, ''"
            " from generate_series(1, %s) n",
            [tenant.pk, cluster.pk, NOW - timedelta(days=1), NOW - timedelta(days=1), size],
        )
    told = {"machine_key": "mkey", "node_key": "nodekey", "ipv4": None, "ipv6": None, "hostname": "h", "name": "h"}
    nodes = [sighting(tenant, number, online=number % 2 == 0, **told) for number in range(1, size + 1)]
    Watch.objects.create(cluster=cluster)
    routes = dict.fromkeys(range(1, size + 1), ((), ()))
    run = polling.record(cluster, Observation(NOW, nodes, {}, None, routes), seconds=0.1, now=NOW)
    assert run is not None
    assert (run.outcome, run.nodes, run.online) == ("ok", size, size // 2)
    assert Device.objects.of(tenant).filter(online=True).count() == size // 2
    gone = polling.record(
        cluster, Observation(NOW + timedelta(seconds=30), nodes[:100], {}, None, {}), seconds=0.1, now=NOW + timedelta(seconds=30)
    )
    assert gone is not None
    assert Device.objects.of(tenant).filter(gone_at=None).count() == 100
