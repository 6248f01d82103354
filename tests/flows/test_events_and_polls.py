"""What servers report, by event and by poll: late, twice, out of order, with the consumer dead, and what it does to devices, grants and quota."""

from __future__ import annotations

import os
import signal
import threading
from datetime import datetime, timedelta

import psycopg
import pytest
from django.utils import timezone

from acs.poll import poll
from placement import devices, events
from placement.devices import Sighting
from placement.models import Device, Fleet, Grant, PollRun, Slot, Watch
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.conftest import superuser
from tests.doors import bootstrap
from tests.live import run_consumer, wait_for
from tests.servers import JoinRefused, machine

pytestmark = pytest.mark.django_db(transaction=True)


def use_key(cluster, account: str, number: int, *, connection: psycopg.Connection | None = None) -> None:
    """What a server does when a device comes with its key: the key is used, a node appears. As the server's own role."""

    def act(link: psycopg.Connection) -> None:
        key_id, user_id = link.execute("select id, user_id from pre_auth_keys order by id desc offset %s limit 1", [0]).fetchone()
        link.execute("update pre_auth_keys set used = true where id = %s", [key_id])
        link.execute(
            "insert into nodes (machine_key, node_key, disco_key, hostname, given_name, user_id, register_method, auth_key_id, created_at, updated_at,"
            " tags, ipv4, ipv6) values (%s, %s, 'discokey:0', %s, %s, %s, 'authkey', %s, now(), now(), '[]', %s, %s)",
            [f"mkey:{number}", f"nodekey:{number}", f"host-{number}", f"host-{number}", user_id, key_id, *addresses(cluster, number)],
        )

    if connection is not None:
        act(connection)
        return
    with psycopg.connect(cluster.url) as own:
        act(own)


def addresses(cluster, number: int) -> tuple[str, str]:
    import ipaddress

    return tuple(str(ipaddress.ip_network(prefix)[number + 10]) for prefix in (cluster.prefix_v4, cluster.prefix_v6))


def consume() -> int:
    return events.consume(Fleet.objects.get(pk="default"))


def test_a_used_key_is_redeemed_and_its_device_known_at_once(fleet_cluster):
    customer = factories.customer()
    bootstrap(customer.secret, {"registration_id": "till-7"})
    use_key(fleet_cluster, customer.account, 1)
    assert consume() >= 2
    [device], [grant] = Device.objects.of(customer.tenant), Grant.objects.of(customer.tenant)
    assert (grant.state, device.grant, device.slot, device.unexpected) == ("redeemed", grant, grant.slot, "")
    assert customer.quota().used == 1
    assert consume() == 0


def test_the_consumer_was_down_and_misses_nothing(fleet_cluster, tmp_path):
    customer = factories.customer()
    for number in range(3):
        bootstrap(customer.secret)
        use_key(fleet_cluster, customer.account, number)
    with run_consumer(tmp_path):
        wait_for(lambda: Device.objects.of(customer.tenant).count() == 3, "three devices are known")
    assert {grant.state for grant in Grant.objects.of(customer.tenant)} == {"redeemed"}


@pytest.mark.processes
def test_a_consumer_killed_again_and_again_misses_nothing(fleet_cluster, tmp_path):
    customer = factories.customer(max_devices=30)
    for number in range(20):
        bootstrap(customer.secret)
        use_key(fleet_cluster, customer.account, number)
        if number % 5 == 4:
            with run_consumer(tmp_path) as process:
                wait_for(lambda n=number: Device.objects.of(customer.tenant).count() > n - 4, "it has begun")
                os.killpg(process.pid, signal.SIGKILL)
    with run_consumer(tmp_path):
        wait_for(lambda: Grant.objects.of(customer.tenant).filter(state="redeemed").count() == 20, "all twenty are redeemed")
    assert Device.objects.of(customer.tenant).count() == 20
    assert customer.quota().used == 20


def test_transactions_that_commit_out_of_order_are_all_heard(fleet_cluster):
    customer = factories.customer()
    bootstrap(customer.secret)
    with psycopg.connect(fleet_cluster.url) as slow:
        use_key(fleet_cluster, customer.account, 1, connection=slow)  # its event has the lower id, and is not committed
        bootstrap(customer.secret)
        use_key(fleet_cluster, customer.account, 2)
        consume()
        assert {device.hostname for device in Device.objects.of(customer.tenant)} == {"host-2"}
        slow.commit()
    consume()
    assert {device.hostname for device in Device.objects.of(customer.tenant)} == {"host-1", "host-2"}


def test_two_consumers_at_once_share_the_outbox_and_count_once(fleet_cluster):
    customer = factories.customer(max_devices=30)
    for number in range(12):
        bootstrap(customer.secret)
        use_key(fleet_cluster, customer.account, number)
    threads = [threading.Thread(target=drain_here) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Device.objects.of(customer.tenant).count() == 12
    assert customer.quota().used == 12


def drain_here() -> None:
    from django.db import connection

    try:
        while events.consume(Fleet.objects.get(pk="default"), limit=5):
            pass
    finally:
        connection.close()


def sighting(number: int, account: str, **fields) -> Sighting:
    now = timezone.now()
    base = {
        "node_id": number, "account": account, "key_id": None, "machine_key": f"mkey:{number}", "node_key": f"nodekey:{number}",
        "ipv4": f"100.64.1.{number}", "ipv6": f"fd7a:115c:a1e0::1:{number}", "hostname": f"host-{number}", "name": f"host-{number}", "tags": (),
        "ephemeral": False, "joined_at": now, "last_seen": now, "key_expires_at": None, "online": True,
    }  # fmt: skip
    return Sighting(**{**base, **fields})


def see(cluster, *seen: Sighting, at: datetime | None = None, complete: bool = True) -> devices.Observed:
    now = timezone.now()
    return devices.observe(cluster.cluster_id, list(seen), seen_at=at or now, now=now, complete=complete)


@pytest.fixture
def bound(fleet_cluster):
    """A customer whose tenant lives on the cluster, without devices."""
    customer = factories.customer(max_devices=5)
    bootstrap(customer.secret)
    Grant.objects.of(customer.tenant).update(state="expired", settled_at=timezone.now())
    Slot.objects.of(customer.tenant).update(released_at=timezone.now())
    type(customer.quota()).objects.filter(tenant=customer.tenant).update(used=0)
    return customer


def test_a_device_that_came_without_a_grant_counts_and_is_flagged(fleet_cluster, bound):
    see(fleet_cluster, sighting(1, bound.account))
    assert Device.objects.of(bound.tenant).get().unexpected == "no-grant"
    assert bound.quota().used == 1


def test_unasked_devices_count_past_the_limit_and_block_new_keys(fleet_cluster, bound):
    see(fleet_cluster, *[sighting(number, bound.account) for number in range(1, 8)])
    assert (bound.quota().used, bound.quota().limit) == (7, 5)
    assert bootstrap(bound.secret).json()["code"] == "quota-exceeded"


def test_the_same_sighting_twice_is_one_device(fleet_cluster, bound):
    for _ in range(3):
        see(fleet_cluster, sighting(1, bound.account))
    assert Device.objects.of(bound.tenant).count() == 1
    assert bound.quota().used == 1


def test_a_list_read_before_a_device_joined_does_not_bury_it(fleet_cluster, bound):
    before = timezone.now()
    see(fleet_cluster, sighting(1, bound.account), complete=False)
    see(fleet_cluster, at=before)
    assert Device.objects.of(bound.tenant).get().gone_at is None


def test_a_list_read_before_a_device_was_deleted_does_not_bring_it_back(fleet_cluster, bound):
    see(fleet_cluster, sighting(1, bound.account))
    before = timezone.now()
    now = timezone.now()
    devices.observe(fleet_cluster.cluster_id, [], seen_at=now, now=now, complete=False, gone=[1])
    see(fleet_cluster, sighting(1, bound.account), at=before)
    assert Device.objects.of(bound.tenant).get().gone_at is not None


def test_nodes_of_no_tenant_are_counted_and_left_alone(fleet_cluster, bound):
    assert see(fleet_cluster, sighting(1, "somebody-else")).strangers == 1
    assert not Device.objects.of(bound.tenant).exists()


def test_a_second_machine_on_one_registration_counts_for_itself_and_a_reinstalled_one_does_not(fleet_cluster):
    customer = factories.customer()
    for number in (1, 2):
        bootstrap(customer.secret, {"registration_id": "till-7"})
        use_key(fleet_cluster, customer.account, number)
        consume()
    first, second = Device.objects.of(customer.tenant).order_by("node_id")
    assert first.slot == second.slot
    assert customer.quota().used == 1
    one, two = (
        sighting(d.node_id, customer.account, key_id=d.grant.key_id, machine_key=d.machine_key, name=d.name) for d in (first, second)
    )
    see(fleet_cluster, one, two, at=timezone.now() + timedelta(seconds=1))
    second.refresh_from_db(from_queryset=Device.objects.of(customer.tenant))
    assert second.unexpected == "second-machine"
    assert customer.quota().used == 2


def look(cluster_id: str, **later: float) -> PollRun:
    """A poll now, or so much later, however recent the last one."""
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    return poll(cluster_id, now=timezone.now() + timedelta(**later))


def test_an_unused_key_is_reclaimed_once_and_only_after_a_later_complete_poll(tmp_path, db):
    customer = factories.customer(max_uses=1)
    with serve_cluster(tmp_path / "a", real=False) as (cluster_id, _):
        bootstrap(customer.secret)
        look(cluster_id)
        assert (Grant.objects.of(customer.tenant).get().state, customer.quota().used) == ("issued", 1)
        with superuser() as connection:  # an hour goes by
            connection.execute("update placement_grant set expires_at = now() - interval '1 second'")
        assert look(cluster_id).outcome == "ok"
        assert (Grant.objects.of(customer.tenant).get().state, customer.quota().used) == ("expired", 0)
        customer.key.refresh_from_db(from_queryset=type(customer.key).objects.of(customer.tenant))
        assert customer.key.uses == 0, "nobody joined with it: the use is given back"
        look(cluster_id, seconds=1)
        assert customer.quota().used == 0


def test_an_expired_key_that_was_used_in_its_last_second_is_redeemed(fleet_cluster):
    customer = factories.customer()
    bootstrap(customer.secret)
    Grant.objects.of(customer.tenant).update(state="expired")
    use_key(fleet_cluster, customer.account, 1)
    consume()
    assert Grant.objects.of(customer.tenant).get().state == "redeemed"
    assert Device.objects.of(customer.tenant).get().unexpected == ""


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.headscale)])
def test_revoking_or_suspending_ends_the_keys_that_nobody_used(real, tmp_path, db):
    from acs.sweep import sweep
    from tenants import credentials, lifecycle

    revoked, suspended = factories.customer(), factories.customer()
    with serve_cluster(tmp_path / "a", real=real) as (cluster_id, server), machine(server, tmp_path / "late") as late:
        keys = [bootstrap(customer.secret).json()["auth_key"] for customer in (revoked, suspended)]
        credentials.revoke(revoked.key, now=timezone.now(), actor="system:tests")
        lifecycle.suspend(suspended.tenant, now=timezone.now(), actor="system:tests")
        sweep(cluster_id, now=timezone.now())
        for key in keys:
            with pytest.raises(JoinRefused):
                late.join(key, "late")
        look(cluster_id, seconds=1)
        assert (revoked.quota().used, suspended.quota().used) == (0, 0)


def test_a_cluster_that_is_down_fails_its_poll_and_changes_nothing(tmp_path, db):
    customer = factories.customer()
    with serve_cluster(tmp_path / "a", real=False) as (cluster_id, server), machine(server, tmp_path / "d") as device:
        device.join(bootstrap(customer.secret).json()["auth_key"], "till-7")
        assert look(cluster_id).outcome == "ok"
    run = look(cluster_id, seconds=1)
    assert (run.outcome, Device.objects.of(customer.tenant).get().gone_at) == ("failed", None)


def test_a_poll_delivered_twice_or_overlapping_looks_once(tmp_path, db):
    with serve_cluster(tmp_path / "a", real=False) as (cluster_id, _):
        now = timezone.now()
        assert [poll(cluster_id, now=now) is None for _ in range(2)] == [False, True]


def test_a_list_that_is_suddenly_empty_is_suspect_and_believed_only_when_it_stays(tmp_path, db):
    customer = factories.customer()
    with serve_cluster(tmp_path / "a", real=False) as (cluster_id, _):
        bootstrap(customer.secret)
        now = timezone.now()
        devices.observe(cluster_id, [sighting(77, customer.account)], seen_at=now, now=now, complete=False)
        outcomes = [look(cluster_id, seconds=second).outcome for second in (1, 2, 3)]
        assert outcomes == ["suspect", "suspect", "ok"]
        assert Device.objects.of(customer.tenant).get().gone_at is not None
