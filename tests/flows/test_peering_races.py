"""Peerings that several want to change at once: each is accepted once and ended once, and what is ended is in no document."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from placement.models import Binding, ClusterPolicy
from tenants import peerings as agreements
from tenants.models import AuditEvent, Peering
from tests.api.callers import program_of, said
from tests.live import together
from tests.peered import device, offered, settled, statements

pytestmark = pytest.mark.django_db(transaction=True)
EVERYTHING = {"src": ["*"]}


@pytest.fixture
def sides(fleet_cluster) -> Any:
    """Programs of acme and globex, and both tenants, each with a device."""
    tenants = [settled(account, fleet_cluster) for account in ("acme", "globex")]
    for tenant in tenants:
        device(tenant, f"{tenant.account}-1")
    return *(program_of(tenant) for tenant in tenants), *tenants


def told(peering: Peering) -> Counter[str]:
    return Counter(AuditEvent.objects.of(peering.host_id).filter(target=f"peering:{peering.pk}").values_list("verb", flat=True))


def test_of_many_that_accept_at_once_one_does(sides, fleet_cluster):
    _, guest, acme, globex = sides
    for _round in range(5):
        made = offered(acme, globex)
        answers = together([lambda: guest.post(f"peerings/{made.pk}/accept", EVERYTHING)] * 4)  # noqa: B023 - called in this round
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 3}
        assert {said(answer)[1] for answer in answers if answer.status_code == 409} == {"wrong-state"}
        assert told(made)["peering.accept"] == 1
    assert len(statements(fleet_cluster)) == 5


def test_of_many_that_end_at_once_one_does(sides, fleet_cluster):
    host, guest, acme, globex = sides
    made = offered(acme, globex)
    guest.post(f"peerings/{made.pk}/accept", EVERYTHING)
    answers = together([lambda side=side: side.post(f"peerings/{made.pk}/end") for side in (host, guest, host, guest)])
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 3}
    assert told(made) == {"peering.offer": 1, "peering.accept": 1, "peering.end": 1}
    assert statements(fleet_cluster) == []


def test_what_is_accepted_and_ended_at_once_is_ended(sides, fleet_cluster):
    host, guest, acme, globex = sides
    seen: Counter[Any] = Counter()
    for _round in range(10):
        made = offered(acme, globex)
        before = ClusterPolicy.objects.filter(pk=fleet_cluster.cluster_id).values_list("wanted", flat=True).first() or 0
        accepting, ending = together(
            [
                lambda: guest.post(f"peerings/{made.pk}/accept", EVERYTHING),  # noqa: B023 - called in this round
                lambda: host.post(f"peerings/{made.pk}/end"),  # noqa: B023
            ]
        )
        assert ending.status_code == 200
        assert accepting.status_code in (200, 409)
        seen[accepting.status_code] += 1
        row = Peering.objects.of(acme).get(pk=made.pk)
        assert (row.state, row.accepted_at is not None) == ("ended", accepting.status_code == 200)
        after = ClusterPolicy.objects.filter(pk=fleet_cluster.cluster_id).values_list("wanted", flat=True).first() or 0
        assert after - before == (2 if accepting.status_code == 200 else 0)
    assert statements(fleet_cluster) == []
    assert sum(seen.values()) == 10


def test_both_ways_at_once_nobody_waits_for_ever(sides, fleet_cluster):
    host, guest, acme, globex = sides
    one, other = offered(acme, globex), offered(globex, acme)
    for answer in together(
        [
            lambda: guest.post(f"peerings/{one.pk}/accept", EVERYTHING),
            lambda: host.post(f"peerings/{other.pk}/accept", EVERYTHING),
        ]
    ):
        assert answer.status_code == 200, answer.content
    assert {(statement.account, statement.host) for statement in statements(fleet_cluster)} == {("acme", "globex"), ("globex", "acme")}


def test_offers_at_once_do_not_pass_the_limit(sides, monkeypatch):
    host, _, acme, _ = sides
    monkeypatch.setattr(agreements, "MOST_OPEN", 3)
    wish = {"guest": "globex", "dst": ["*"]}
    answers = together([lambda: host.post("peerings", wish)] * 6)
    assert Counter(answer.status_code for answer in answers) == {201: 3, 409: 3}
    assert Peering.objects.of(acme).count() == 3


def test_it_is_accepted_where_both_live_by_then(sides, fleet_clusters):
    _, guest, acme, globex = sides
    there = fleet_clusters()
    made = offered(acme, globex)
    Binding.objects.of(globex).update(cluster=there.row)
    assert said(guest.post(f"peerings/{made.pk}/accept", EVERYTHING)) == (409, "peering-across-clusters")
    Binding.objects.of(acme).update(cluster=there.row)
    assert guest.post(f"peerings/{made.pk}/accept", EVERYTHING).status_code == 200
    assert ClusterPolicy.objects.get(pk=there.cluster_id).wanted == 1
