"""Keys minted ahead: taken once, for whom they were made, while they are good; refilled at the pace of the server and no faster."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from acs.poll import poll
from acs.sweep import sweep
from placement import bindings, lineup, mintings, refill, settling, stock
from placement.engine.regions import Wish
from placement.models import Alert, Binding, Cluster, Grant, Heat, Minting, StockedKey, Watch
from tenants import credentials, lifecycle
from tenants.keyring import Keyring
from tests import factories
from tests.conftest import ROOT, service_environment
from tests.doors import bootstrap
from tests.fakes.minter import Minter, external_of, full_lanes
from tests.live import race_here, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
ACTS = {"actor": "system:tests"}


@pytest.fixture
def minter(django_db_setup):
    with Minter().running() as server:
        yield server


@pytest.fixture
def home(minter):
    """The cluster_id of an external cluster."""
    return external_of(minter)


def resident(home: str, **fields) -> factories.Customer:
    """A customer whose tenant lives there already."""
    customer = factories.customer(**{"max_devices": 100, **fields})
    bindings.settle(customer.tenant, wish=Wish("eu"), now=timezone.now())
    assert Binding.objects.of(customer.tenant).get().cluster_id == home
    return customer


def put_by(home: str, customer: factories.Customer, number: int, *, ephemeral: bool = False, now=None) -> None:
    user_id = Binding.objects.of(customer.tenant).get().headscale_user_id
    for _ in range(number):
        stock.mint_one(
            Cluster.objects.get(pk=home), customer.tenant.pk, ephemeral=ephemeral, headscale_user_id=user_id, now=now or timezone.now()
        )


def states(home: str) -> dict[str, int]:
    rows = StockedKey.objects.across_tenants().filter(cluster=home).values_list("state", flat=True)
    return {state: list(rows).count(state) for state in set(rows)}


def look_again(home: str, **later: float) -> None:
    Watch.objects.filter(pk=home).update(attempted_at=None)
    assert poll(home, now=timezone.now() + timedelta(**later)).outcome == "ok"


def test_a_device_is_served_from_the_stock_without_a_word_to_the_server_and_the_repeat_hears_the_same(home, minter):
    customer = resident(home)
    put_by(home, customer, 1)
    minter.mode = "refuse"
    first = bootstrap(customer.secret, {"registration_id": "till-1"}).json()
    assert first["auth_key"] == minter.secret_of(1)
    assert bootstrap(customer.secret, {"registration_id": "till-1"}).json() == first
    grant = Grant.objects.of(customer.tenant).get()
    taken = StockedKey.objects.of(customer.tenant).get()
    assert (grant.state, grant.key_id, taken.state, taken.grant_id, taken.secret_sealed) == ("issued", 1, "taken", grant.pk, "")
    assert grant.expires_at == taken.expires_at
    assert first["auth_key_expires_at"] == taken.expires_at.isoformat()
    assert customer.quota().used == 1


def test_a_device_that_is_promised_tags_takes_no_key_of_the_stock_but_gets_one_of_its_own(home, minter):
    customer = resident(home)
    factories.policy(customer.tenant, "tag:web")
    put_by(home, customer, 1)
    _key, secret = factories.enrolment_key(customer.tenant, tags=["tag:web"])
    first = bootstrap(secret, {"registration_id": "till-1"}).json()
    assert first["auth_key"] == minter.secret_of(2)
    assert [made["aclTags"] for made in minter.keys.values()] == [[], [f"tag:{customer.account}--web"]]
    assert bootstrap(secret, {"registration_id": "till-1"}).json() == first
    assert (states(home), Grant.objects.of(customer.tenant).get().tags) == ({"ready": 1}, ["tag:web"])
    assert refill.demands(home, now=timezone.now()) == [], "nobody wants untagged keys ahead for it"


def test_a_device_that_queued_gets_the_tags_that_it_was_promised(home, minter):
    customer = resident(home)
    factories.policy(customer.tenant, "tag:web", "tag:db")
    key, secret = factories.enrolment_key(customer.tenant, tags=["tag:web"])
    with full_lanes(home):
        assert bootstrap(secret, {"registration_id": "till-1"}).status_code == 503
    put_by(home, customer, 1)
    with transaction.atomic():
        credentials.change(key, tags=["tag:db"], now=timezone.now())
    assert refill.refill(home, seconds=5) is False
    assert [made["aclTags"] for made in minter.keys.values()] == [[], [f"tag:{customer.account}--web"]]
    assert states(home) == {"ready": 1}
    assert bootstrap(secret, {"registration_id": "till-1"}).json()["auth_key"] == minter.secret_of(2)


def test_eight_at_once_take_eight_different_keys(home, minter):
    customer = resident(home)
    put_by(home, customer, 8)
    minter.mode = "refuse"
    keys = race_here(8, lambda n: bootstrap(customer.secret, {"registration_id": f"till-{n}"}).json()["auth_key"])
    assert len(set(keys)) == 8
    assert customer.quota().used == 8
    assert states(home) == {"taken": 8}


def test_the_database_refuses_one_stocked_key_for_two_grants(home, minter):
    customer = resident(home)
    put_by(home, customer, 1)
    bootstrap(customer.secret)
    bootstrap(customer.secret)
    grants = list(Grant.objects.of(customer.tenant))
    with pytest.raises(IntegrityError, match="key_belongs_to_one_grant"), transaction.atomic():
        Grant.objects.of(customer.tenant).filter(pk=grants[0].pk).update(key_id=grants[1].key_id)
    with pytest.raises(IntegrityError, match="taken_stock_and_no_other_has_a_grant"), transaction.atomic():
        StockedKey.objects.of(customer.tenant).filter(state="taken").update(state="ready", secret_sealed="x")


def test_a_refused_promise_leaves_its_key_in_the_stock(home, minter):
    customer = resident(home, max_devices=1)
    put_by(home, customer, 2)
    assert bootstrap(customer.secret).status_code == 200
    assert bootstrap(customer.secret).json()["code"] == "quota-exceeded"
    assert states(home) == {"taken": 1, "ready": 1}


def test_the_stock_of_one_tenant_is_no_other_tenants_and_of_one_kind_no_other_kinds(home, minter):
    rich, poor = resident(home), resident(home)
    put_by(home, rich, 3)
    assert bootstrap(poor.secret).json()["auth_key"] == minter.secret_of(4), "minted for it"
    fleeting = factories.enrolment_key(rich.tenant, ephemeral=True)[1]
    assert bootstrap(fleeting).json()["auth_key"] == minter.secret_of(5)
    assert states(home) == {"ready": 3}


def test_a_key_near_its_end_and_one_that_outlives_the_credentials_keys_stay_where_they_are(home, minter):
    customer = resident(home)
    put_by(home, customer, 1, now=timezone.now() - stock.LIFE + stock.LEFT - timedelta(seconds=5))
    assert bootstrap(customer.secret).json()["auth_key"] == minter.secret_of(2)
    short = factories.enrolment_key(customer.tenant, key_lifetime=timedelta(minutes=20))[1]
    put_by(home, customer, 1)
    assert bootstrap(short).json()["auth_key"] == minter.secret_of(4)
    put_by(home, customer, 1, now=timezone.now() - timedelta(minutes=45))
    assert bootstrap(short).json()["auth_key"] == minter.secret_of(5), "fifteen minutes are left of it"


def test_stock_that_ran_out_is_forgotten_after_a_complete_poll_and_deleted_on_the_server(home, minter):
    customer = resident(home)
    put_by(home, customer, 1, now=timezone.now() - stock.LIFE - timedelta(seconds=1))
    look_again(home)
    assert states(home) == {"spent": 1}
    sweep(home, now=timezone.now())
    assert states(home) == {}
    assert minter.keys == {}


def test_the_stock_of_suspended_and_of_moved_tenants_is_expired_on_the_server(home, minter):
    suspended, moved, stays = resident(home), resident(home), resident(home)
    for customer in (suspended, moved, stays):
        put_by(home, customer, 2)
    elsewhere = external_of(minter)
    lifecycle.suspend(suspended.tenant, reason="unpaid", now=timezone.now(), **ACTS)
    Binding.objects.of(moved.tenant).update(cluster=elsewhere)
    assert bootstrap(suspended.secret).json()["code"] == "tenant-suspended"
    sweep(home, now=timezone.now())
    assert minter.live() == {5, 6}
    assert states(home) == {"ready": 2, "spent": 4}
    assert not StockedKey.objects.across_tenants().filter(state="spent").exclude(secret_sealed="").exists()
    look_again(home, seconds=5)
    sweep(home, now=timezone.now())
    assert set(minter.keys) == {5, 6}
    assert states(home) == {"ready": 2}


def test_a_stocked_key_that_somebody_used_without_a_grant_is_an_alert(home, minter):
    customer = resident(home)
    put_by(home, customer, 2)
    minter.keys[1]["used"] = True
    look_again(home)
    alert = Alert.objects.get(kind="stock-key-used", closed_at=None)
    assert (alert.subject, alert.facts["tenant"]) == (f"{home}/1", customer.account)
    assert states(home) == {"ready": 1}
    call_command("stock", "acknowledge", home, stdout=io.StringIO())
    assert not Alert.objects.filter(closed_at=None).exists()


def test_a_key_that_vanished_from_the_server_is_never_handed_out(home, minter):
    customer = resident(home)
    put_by(home, customer, 2)
    del minter.keys[1]
    look_again(home, seconds=1)
    assert list(StockedKey.objects.of(customer.tenant).values_list("key_id", flat=True)) == [2]


def test_a_silent_mint_is_found_by_its_expiration_and_ended_and_one_that_made_nothing_is_forgotten(home, minter):
    customer = resident(home)
    for minter.mode in ("silent", "lost"):
        with pytest.raises(stock.ClusterSilent):
            put_by(home, customer, 1)
    minter.mode = "ok"
    assert states(home) == {"unknown": 2}
    look_again(home)
    assert states(home) == {"unknown": 2}, "a mint may still be under way"
    look_again(home, minutes=3)
    assert states(home) == {"spent": 1}
    sweep(home, now=timezone.now())
    assert minter.live() == set()


def test_grants_and_stock_never_share_an_expiration():
    now = timezone.now()
    grants = {settling.unique_expiration(now) for _ in range(200)}
    ahead = {settling.unique_expiration(now, odd=True) for _ in range(200)}
    assert {moment.microsecond % 2 for moment in grants} == {0}
    assert {moment.microsecond % 2 for moment in ahead} == {1}
    assert all(now - timedelta(seconds=1) <= moment <= now for moment in grants | ahead - {min(ahead)})


def test_stock_outlives_a_rotation_of_the_keyring_and_is_ended_when_its_key_has_left(home, minter, settings):
    customer = resident(home)
    put_by(home, customer, 2)
    old = settings.KEYRING
    new = Keyring.parse("t2:" + base64.b64encode(b"another of thirty-two bytes, yes").decode())
    settings.KEYRING = Keyring({**new.keys, **old.keys})
    first = bootstrap(customer.secret, idempotency_key="k").json()["auth_key"]
    unread = 2 if first == minter.secret_of(1) else 1  # which of the two ends first is left to chance
    assert first == minter.secret_of(3 - unread)
    Cluster.objects.filter(pk=home).update(admin_key_sealed=new.seal("hskey-api-x", context=f"placement_cluster:{home}:admin_key"))
    settings.KEYRING = new
    assert bootstrap(customer.secret, idempotency_key="k").json()["auth_key"] == first, "sealed anew for its grant"
    assert bootstrap(customer.secret).json()["auth_key"] == minter.secret_of(3), "nobody can read the other one"
    sweep(home, now=timezone.now())
    assert unread not in minter.live()


# ---- the refill ------------------------------------------------------------------------------------------------------


def test_the_refill_keeps_as_much_as_was_asked_for_lately_and_nothing_for_the_quiet(home, minter, settings):
    settings.STOCK_MOST = 6
    busy, calm, quiet, full = resident(home), resident(home), resident(home), resident(home, max_devices=3)
    for customer, number in ((busy, 10), (calm, 3), (full, 2)):
        for _ in range(number):
            bootstrap(customer.secret)
    Grant.objects.of(calm.tenant).update(created_at=timezone.now() - timedelta(hours=5))
    settings.STOCK_SHARE = 1.0
    assert refill.refill(home, seconds=20) is False
    have = {c.account: StockedKey.objects.of(c.tenant).count() for c in (busy, calm, quiet, full)}
    assert have == {busy.account: 6, calm.account: 1, quiet.account: 0, full.account: 1}
    made = minter.last
    assert refill.refill(home, seconds=20) is False
    assert minter.last == made


def test_two_refills_at_once_take_no_more_than_their_share_of_the_servers_time(home, minter, settings):
    settings.STOCK_SHARE, settings.STOCK_MOST = 0.5, 30
    customer = resident(home)
    for _ in range(30):
        bootstrap(customer.secret)
    minter.seconds, minter.made = 0.05, []
    minter.most_at_once = 0
    begun = time.monotonic()
    race_here(4, lambda _: refill.refill(home, seconds=2))
    refill.refill(home, seconds=0.5)
    elapsed = time.monotonic() - begun
    assert minter.most_at_once == 1
    assert 5 < len(minter.made) <= elapsed * settings.STOCK_SHARE / 0.05 + 1
    assert min(later - earlier for earlier, later in zip(minter.made, minter.made[1:], strict=False)) >= 0.1
    assert 0.02 < Minting.objects.get(pk=home).seconds < 0.2


def test_no_refill_where_the_cluster_is_offline_overloaded_or_down(home, minter, settings):
    customer = resident(home)
    bootstrap(customer.secret)
    made = len(minter.made)
    heat, _ = Heat.objects.update_or_create(pk=home, defaults={"breaker_open": True})
    assert refill.refill(home, seconds=2) is False
    heat.delete()
    Cluster.objects.filter(pk=home).update(state="offline")
    assert refill.refill(home, seconds=2) is False
    Cluster.objects.filter(pk=home).update(state="active", admin_url="http://127.0.0.1:9")
    assert refill.refill(home, seconds=2) is False
    assert (len(minter.made), states(home)) == (made, {})
    Cluster.objects.filter(pk=home).update(admin_url=minter.url)
    assert refill.refill(home, seconds=5) is False
    assert states(home) == {"ready": 1}


@pytest.mark.processes
@pytest.mark.parametrize("queued", [True, False])
def test_a_refill_killed_between_mint_and_store_loses_no_place_and_leaks_no_key(home, minter, queued):
    """The server has made the key, the process that asked for it is gone, and its lock and its lane with it."""
    customer = resident(home)
    bootstrap(customer.secret, {"registration_id": "first"})
    if queued:
        with full_lanes(home):
            assert bootstrap(customer.secret, {"registration_id": "till-7"}).json()["code"] == "cluster-busy"
        assert Grant.objects.of(customer.tenant).filter(state="queued").count() == 1
    asked, minter.seconds = len(minter.made), 1.0
    command = [sys.executable, "manage.py", "stock", "refill", home]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **service_environment("worker")}, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(minter.made) > asked, "the refill asks the server")
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: minter.last > asked, "the server has made it")
    minter.seconds = 0.0
    look_again(home, minutes=3)
    sweep(home, now=timezone.now())
    look_again(home, minutes=4)
    sweep(home, now=timezone.now())
    told = set(Grant.objects.of(customer.tenant).filter(state="issued").values_list("key_id", flat=True))
    assert minter.live() == told, "what nobody can know is expired"
    assert bootstrap(customer.secret, {"registration_id": "till-7"}).status_code == 200
    assert customer.quota().used == 2
    assert refill.refill(home, seconds=5) is False


def test_operators_see_stock_queue_and_pace(home, minter):
    customer = resident(home)
    bootstrap(customer.secret)
    put_by(home, customer, 2)
    out = io.StringIO()
    call_command("stock", stdout=out)
    head, line = out.getvalue().splitlines()
    assert head.split()[:2] == ["cluster", "ready"]
    assert line.split()[:5] == [home, "2", "1", "0", "0"]
    [told] = mintings.lines(now=timezone.now())
    assert (told.ready, told.wanted, told.queued, told.minted) == (2, 1, 0, 3)


def test_retry_after_grows_with_the_queue_and_stays_within_its_bounds():
    assert all(1 <= lineup.retry_after(0, 0.125) <= 3 for _ in range(50))
    assert all(25 <= lineup.retry_after(99, 0.125) <= 33 for _ in range(50))
    assert lineup.retry_after(10_000, 0.125) == 300
    assert len({lineup.retry_after(200, 0.125) for _ in range(50)}) > 1, "not all at once"
