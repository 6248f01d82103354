"""Peerings: words of one's own, limits, states, and both tenants' audits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from acs import forgetting
from placement.models import ClusterPolicy
from placement.policies import peerings
from tenants import audit, lifecycle
from tenants import peerings as agreements
from tenants.errors import MalformedRequest, UnknownAccount, WrongState
from tenants.models import AuditEvent, Peering, Tenant
from tests.peered import OFFICE, accepted, device, offered, put_policy, settled, statements

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme(fleet_cluster):
    tenant = settled("acme", fleet_cluster, policy=OFFICE)
    device(tenant, "till-1")
    device(tenant, "db-1", tags=("tag:db",))
    return tenant


@pytest.fixture
def globex(fleet_cluster):
    tenant = settled("globex", fleet_cluster)
    device(tenant, "shop-1")
    return tenant


def wrong_of(attempt) -> dict[str, str]:
    with pytest.raises(MalformedRequest) as refusal:
        attempt()
    return refusal.value.errors


def test_words_and_services_are_kept_once_and_in_their_canonical_form(acme, globex):
    address = device(acme, "till-2").ipv6
    made = offered(
        acme,
        globex,
        "tag:db",
        "TILL-1",
        "till-1",
        "group:desk",
        "autogroup:tagged",
        f"{address}/128",
        services=("TCP:80-90", "443", "80,443"),
    )
    assert made.dst == ["tag:db", "till-1", "group:desk", "autogroup:tagged", address]
    assert made.services == ["80", "443", "tcp:80-90"]
    everything = offered(acme, globex, "*", services=("443", "*", "icmp:*"))
    assert everything.services == ["*"]


@pytest.mark.parametrize(
    "word",
    [
        *("tag:web", "group:shop", "shop-1", "nobody", "100.99.99.99", "fd7a:115c:a1e0::ffff", "100.64.0.0/10", "0.0.0.0/0"),
        *("autogroup:self", "autogroup:internet", "autogroup:danger-all", "autogroup:admin", "ann@people.example", "acme@"),
        *("", " ", "tag:", "tag:globex--db", "Tag:db", "tіll-1", "till 1", "till-1\n", "x" * 129, "::ffff:100.64.0.1", "svc:x"),
    ],
)
def test_a_word_that_stands_for_nothing_of_ones_own_is_refused_by_its_field(acme, globex, word):
    errors = wrong_of(lambda: offered(acme, globex, "till-1", word))
    assert set(errors) == {"dst"}
    made = offered(acme, globex)
    told = {"now": timezone.now(), "actor": "x"}
    if word != "shop-1":
        assert set(wrong_of(lambda: peerings.accept(made, [word], **told))) == {"src"}
    assert Peering.objects.of(acme).get().state == "offered"


def test_words_of_the_other_tenant_are_as_unknown_as_words_of_nobody(acme, globex):
    of_other = wrong_of(lambda: offered(acme, globex, "shop-1"))["dst"]
    of_nobody = wrong_of(lambda: offered(acme, globex, "nope-1"))["dst"]
    assert of_other.replace("shop-1", "nope-1") == of_nobody
    made = offered(acme, globex, "tag:db")
    with pytest.raises(MalformedRequest):
        peerings.accept(made, ["tag:db"], now=timezone.now(), actor="x")


def test_an_ambiguous_name_is_refused(acme, globex):
    device(acme, "till-1")
    assert "2 devices" in wrong_of(lambda: offered(acme, globex, "till-1"))["dst"]


@pytest.mark.parametrize(
    "service", ["", "http", "tcp", "80-", "90-80", "65536", "0", "0-0", "icmp:1", "*:80", "tcp:udp:1", "tcp: 80", "300:*", "-1"]
)
def test_a_service_is_read_strictly(acme, globex, service):
    assert set(wrong_of(lambda: offered(acme, globex, services=("443", service)))) == {"services"}


def test_everything_that_is_wrong_is_told_at_once(acme):
    told = {"now": timezone.now(), "actor": "x"}
    errors = wrong_of(lambda: peerings.offer(acme, "acme", dst=[], services=["x"], description="a\x00", **told))
    assert set(errors) == {"dst", "services", "description", "guest"}
    assert set(wrong_of(lambda: peerings.offer(acme, "x", dst=["*"] * 201, services=["1"] * 201, **told))) == {"dst", "services"}


@pytest.mark.parametrize("becomes", ["absent", "closed", "suspended"])
def test_an_account_that_is_not_there_to_accept_is_unknown(acme, globex, becomes):
    guest = Tenant(account="nobody-here") if becomes == "absent" else globex
    if becomes != "absent":
        {"closed": lifecycle.close, "suspended": lifecycle.suspend}[becomes](globex, now=timezone.now(), actor="x")
    with pytest.raises(UnknownAccount):
        offered(acme, guest)


def test_who_is_suspended_neither_offers_nor_accepts_nor_is_accepted_and_may_end(acme, globex):
    first, second = offered(acme, globex), accepted(acme, globex)
    lifecycle.suspend(acme, now=timezone.now(), actor="x")
    with pytest.raises(WrongState):
        offered(acme, globex)
    with pytest.raises(WrongState):
        peerings.accept(first, ["*"], now=timezone.now(), actor="x")
    lifecycle.suspend(globex, now=timezone.now(), actor="x")
    with pytest.raises(WrongState):
        peerings.accept(first, ["*"], now=timezone.now(), actor="x")
    assert peerings.end(second, by=acme, now=timezone.now(), actor="x").state == "ended"


def test_it_is_accepted_by_the_guest_alone_and_once(acme, globex):
    made = offered(acme, globex, "tag:db", services=("tcp:5432",))
    with pytest.raises(WrongState):
        peerings.accept(made, ["*"], by=acme, now=timezone.now(), actor="token:1")
    done = peerings.accept(made, ["shop-1"], by=globex, now=timezone.now(), actor="token:2")
    assert (done.state, done.src, done.accepted_by) == ("accepted", ["shop-1"], "token:2")
    with pytest.raises(WrongState, match="accepted"):
        peerings.accept(made, ["*"], by=globex, now=timezone.now(), actor="token:2")


@pytest.mark.parametrize("side", ["host", "guest"])
@pytest.mark.parametrize("state", ["offered", "accepted"])
def test_either_side_ends_it_once_and_what_is_ended_stays_so(acme, globex, side, state):
    made = (offered if state == "offered" else accepted)(acme, globex)
    by = getattr(made, side)
    done = peerings.end(made, by=by, now=timezone.now(), actor="token:1")
    assert (done.state, done.ended_by) == ("ended", f"tenant:{by.account}")
    for attempt in (
        lambda: peerings.end(made, by=by, now=timezone.now(), actor="x"),
        lambda: peerings.accept(made, ["*"], now=timezone.now(), actor="x"),
    ):
        with pytest.raises(WrongState, match="ended"):
            attempt()


def test_both_audits_tell_it_and_neither_names_who_acts_for_the_other(acme, globex):
    made = offered(acme, globex, "tag:db", by=acme, actor="token:host")
    peerings.accept(made, ["*"], by=globex, now=timezone.now(), actor="token:guest")
    peerings.end(made, by=globex, now=timezone.now(), actor="token:guest")
    told = {
        tenant.account: list(AuditEvent.objects.of(tenant).filter(target=f"peering:{made.pk}").order_by("id").values_list("verb", "actor"))
        for tenant in (acme, globex)
    }
    assert told["acme"] == [("peering.offer", "token:host"), ("peering.accept", "tenant:globex"), ("peering.end", "tenant:globex")]
    assert told["globex"] == [("peering.offer", "tenant:acme"), ("peering.accept", "token:guest"), ("peering.end", "token:guest")]
    audit.seal_all()
    assert all(verdict.whole for verdict in audit.verify())


def test_a_tenant_has_a_hundred_open_peerings_and_the_offers_of_others_fill_none_of_them(acme, globex, fleet_cluster, monkeypatch):
    monkeypatch.setattr(agreements, "MOST_OPEN", 2)
    third = settled("third", fleet_cluster)
    for host in (acme, third):
        for _ in range(2):
            offered(host, globex)
    with pytest.raises(WrongState, match="2 open"):
        offered(acme, globex)
    own = [offered(globex, third), offered(globex, third)]
    waiting = Peering.objects.of(acme).first()
    with pytest.raises(WrongState, match="2 open"):
        peerings.accept(waiting, ["*"], now=timezone.now(), actor="x")
    peerings.end(own[0], by=globex, now=timezone.now(), actor="x")
    assert peerings.accept(waiting, ["*"], now=timezone.now(), actor="x").state == "accepted"


def test_an_offer_is_open_for_thirty_days_and_what_ended_is_forgotten_after_ninety(acme, globex):
    now = timezone.now()
    old, young, held = offered(acme, globex), offered(acme, globex), accepted(acme, globex)
    Peering.objects.of(acme).exclude(pk=young.pk).update(offered_at=now - timedelta(days=30))
    with pytest.raises(WrongState, match="30 days"):
        peerings.accept(old, ["*"], now=now, actor="x")
    forgetting.old(now=now)
    states = dict(Peering.objects.of(acme).values_list("pk", "state"))
    assert states == {old.pk: "ended", young.pk: "offered", held.pk: "accepted"}
    assert AuditEvent.objects.of(globex).get(verb="peering.end").actor == "system:forgetting"
    forgetting.old(now=now + timedelta(days=91))
    assert held.pk in set(Peering.objects.of(acme).values_list("pk", flat=True))
    assert not Peering.objects.of(acme).filter(pk=old.pk).exists()


def test_a_word_that_no_longer_stands_for_anything_shares_nothing_and_a_changed_group_changes_it(acme, globex, fleet_cluster):
    accepted(acme, globex, "group:desk", src=("shop-1",))
    [before] = statements(fleet_cluster)
    more = device(acme, "till-2")
    put_policy(acme, OFFICE.replace('"group:desk": ["till-1"]', '"group:desk": ["till-1", "till-2"]'))
    [after] = statements(fleet_cluster)
    assert after.dst.devices - before.dst.devices == {str(more.pk)}
    put_policy(acme, OFFICE.replace('"group:desk": ["till-1"]', '"group:desk": []'))
    assert statements(fleet_cluster) == []
    put_policy(acme, "{}")
    assert statements(fleet_cluster) == []


def test_an_offer_asks_for_no_push_and_accepting_and_ending_it_ask_for_one_each(acme, globex, fleet_cluster):
    def wanted() -> int:
        return ClusterPolicy.objects.filter(pk=fleet_cluster.cluster_id).values_list("wanted", flat=True).first() or 0

    begun = wanted()
    withdrawn, made = offered(acme, globex), offered(acme, globex)
    peerings.end(withdrawn, by=acme, now=timezone.now(), actor="x")
    assert wanted() == begun
    peerings.accept(made, ["*"], now=timezone.now(), actor="x")
    assert wanted() == begun + 1
    peerings.end(made, by=globex, now=timezone.now(), actor="x")
    assert wanted() == begun + 2
