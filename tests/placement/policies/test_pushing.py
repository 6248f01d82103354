"""A cluster's document reaches its server once, whoever else writes, and whatever one tenant wrote; what failed is told and tried again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from placement import clusters, devices, policy
from placement.devices import Sighting
from placement.headscale.admin import Admin
from placement.models import Alert, AuditFinding, Binding, Cluster, ClusterPolicy, PolicyPush
from placement.policies import findings, history, pushing, sizes, storing, wishes, writers
from placement.policies.pushing import push
from tenants import lifecycle
from tenants.models import EnrolmentKey, NetworkPolicy, Tenant
from tests import factories
from tests.doors import bootstrap
from tests.placement.policies.pushed import PolicyServer, allows, pushes, row, running_number, serving, settled, write

pytestmark = pytest.mark.django_db
S = timedelta(seconds=1)


@pytest.fixture
def cluster(fleet_cluster: Any) -> Cluster:
    found: Cluster = fleet_cluster.row
    return found


@pytest.fixture
def server(fleet_cluster: Any, cluster: Cluster) -> Iterator[PolicyServer]:
    with serving(fleet_cluster) as running:
        cluster.refresh_from_db()
        yield running


def refusing(reason: str) -> Callable[[str], str]:
    """Whatever the document."""
    return lambda _: reason


def go(cluster: Cluster, after: float = 0.0) -> PolicyPush | None:
    """A push, so many seconds from now."""
    return push(cluster.pk, timezone.now() + timedelta(seconds=after))


# ---- too much for one server -------------------------------------------------------------------------------------------------
def swollen(rules: int) -> str:
    """A policy of few words, each of which is every address of the tenant."""
    prefix = "100.64.0.0/10"
    return json.dumps({"acls": [{"action": "accept", "src": [prefix], "dst": [f"{prefix}:{port}"]} for port in range(1, rules + 1)]})


def test_a_policy_that_grows_too_large_with_its_devices_keeps_nobody_elses_from_the_server(cluster, server):
    acme = settled(cluster, "acme", swollen(1000), *(f"m{number}" for number in range(40)))
    bolt = settled(cluster, "bolt", allows("a", "b"), "a", "b")
    assert go(cluster).state == "stored"
    assert (running_number(acme), running_number(bolt)) == (None, 1)
    assert "too long" in NetworkPolicy.objects.of(acme).get().trouble
    assert len(server.policy) < sizes.MOST
    write(acme, allows("m1", "m2"))
    assert go(cluster).state == "stored"
    assert (running_number(acme), NetworkPolicy.objects.of(acme).get().trouble) == (2, "")


def test_of_a_document_that_is_too_large_for_its_server_the_largest_part_is_left_out(cluster, server):
    server.refuses = lambda document: "grpc: received message larger than max (9 vs. 5)" if len(document) > 420_000 else ""
    acme = settled(cluster, "acme", swollen(200), *(f"m{number}" for number in range(20)))
    assert go(cluster).state == "stored"
    bolt = settled(cluster, "bolt", allows("a", "b"), "a", "b")
    assert go(cluster).state == "stored"
    crow = settled(cluster, "crow", swollen(100), *(f"c{number}" for number in range(20)))
    assert go(cluster).state == "stored"
    assert [running_number(tenant) for tenant in (acme, bolt, crow)] == [1, 1, None], "whoever comes last to a full server is told"
    verdict = storing.check(bolt, allows("a", "b", 23), timezone.now())
    assert verdict.proven_on == cluster.pk, "and keeps nobody from a policy"


# ---- when --------------------------------------------------------------------------------------------------------------------
def test_a_wish_is_ripe_when_it_was_quiet_for_a_second_or_has_waited_for_five(cluster):
    begun = timezone.now()
    wishes.touch(cluster.pk, now=begun)
    assert writers.ripe(now=begun + 0.9 * S) == []
    assert writers.ripe(now=begun + 1 * S) == [cluster.pk]
    for tenth in range(60):
        wishes.touch(cluster.pk, now=begun + tenth * 0.1 * S)
    assert writers.ripe(now=begun + 4.9 * S) == []
    assert writers.ripe(now=begun + 5 * S) == [cluster.pk]


def test_however_many_wishes_waited_one_push_carries_them_out(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    for _ in range(20):
        wishes.touch(cluster.pk, now=timezone.now())
    done = go(cluster)
    assert done is not None
    assert (done.state, len(server.puts), server.policy) == ("stored", 1, done.document)
    assert (row(cluster).running, row(cluster).done, row(cluster).wanted_at) == (done, row(cluster).wanted, None)
    assert running_number(tenant) == 1
    assert writers.ripe(now=timezone.now() + 9 * S) == []
    assert go(cluster) is None


def test_a_cluster_that_does_not_serve_is_left_alone(cluster, server):
    settled(cluster, "acme")
    Cluster.objects.filter(pk=cluster.pk).update(state="offline")
    assert writers.ripe(now=timezone.now() + 9 * S) == []
    assert go(cluster) is None


# ---- what --------------------------------------------------------------------------------------------------------------------
def test_what_compiles_to_the_running_document_is_not_pushed(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    go(cluster)
    write(tenant, "// the same\n" + allows("a", "b"))
    asked = server.gets
    done = go(cluster)
    assert done == row(cluster).running
    assert (len(server.puts), server.gets, running_number(tenant)) == (1, asked, 2)
    assert PolicyPush.objects.count() == 1


def test_a_cluster_of_plain_tenants_keeps_the_base_policy_that_it_was_registered_with(cluster, server):
    server.policy = policy.base()
    settled(cluster, "acme", "", "a")
    done = go(cluster)
    assert done is not None
    assert (done.state, done.document, server.puts) == ("stored", policy.base(), [])


def test_rules_of_a_tenants_own_count_as_its_weight(cluster, server):
    heavy, plain = settled(cluster, "acme", allows("a", "b"), "a", "b"), settled(cluster, "bolt", "", "c")
    go(cluster)
    assert [Binding.objects.of(tenant).get().rules for tenant in (heavy, plain)] == [1, 0]
    write(heavy, "{}")
    go(cluster)
    assert Binding.objects.of(heavy).get().rules == 0


def test_who_waits_for_the_document_is_told_once_it_runs(cluster, server):
    told = []
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    server.refuses = refusing("no")
    push(cluster.pk, timezone.now(), after=[lambda *facts: told.append(facts)])
    assert told == []
    server.refuses = refusing("")
    push(cluster.pk, timezone.now(), after=[lambda *facts: told.append(facts)])
    assert [facts[0] for facts in told] == [cluster.pk]


# ---- one tenant's bad document -------------------------------------------------------------------------------------------
def test_a_document_that_the_server_refuses_keeps_nobody_elses_from_it(cluster, server):
    good, bad = settled(cluster, "acme", allows("a", "b"), "a", "b"), settled(cluster, "bolt", allows("c", "d"), "c", "d")
    go(cluster)
    server.refuses = lambda text: "parsing policy: nothing is on 6666" if "6666" in text else ""
    write(bad, allows("c", "d", 6666))
    write(good, allows("a", "b", 443))
    assert go(cluster).state == "stored"
    assert '"443"' in server.policy
    assert '"22"' in server.policy
    assert [running_number(tenant) for tenant in (good, bad)] == [2, 1]
    trouble = NetworkPolicy.objects.of(bad).get()
    assert "nothing is on 6666" in trouble.trouble
    assert trouble.trouble_at is not None
    assert NetworkPolicy.objects.of(good).get().trouble == ""
    write(bad, allows("c", "d", 80))
    go(cluster)
    assert (running_number(bad), NetworkPolicy.objects.of(bad).get().trouble) == (3, "")
    assert not Alert.objects.filter(kind=Alert.Kind.POLICY_STUCK).exists()


def test_a_document_that_was_never_good_leaves_its_tenant_as_it_was_before(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    bad = settled(cluster, "bolt", allows("c", "d", 6666), "c", "d")
    server.refuses = lambda text: "no 6666" if "6666" in text else ""
    assert go(cluster).state == "stored"
    assert '{"dst": ["bolt@"], "ip": ["*"], "src": ["bolt@"]}' in server.policy
    assert (running_number(bad), NetworkPolicy.objects.of(bad).get().trouble != "") == (None, True)


def test_a_running_version_that_the_server_takes_no_more_makes_its_tenant_reach_nothing(cluster, server):
    good, bad = settled(cluster, "acme", allows("a", "b"), "a", "b"), settled(cluster, "bolt", allows("c", "d", 6666), "c", "d")
    go(cluster)
    server.refuses = lambda text: "no 6666 any more" if "6666" in text else ""
    write(bad, allows("c", "d", 6666, hosts={"x": "192.0.2.1"}))
    write(good, allows("a", "b", 80))
    assert go(cluster).state == "stored"
    assert "100.64.0.3" not in server.policy
    assert '"80"' in server.policy
    assert row(cluster).running.versions == {"acme": 2}


def test_a_stored_text_that_nobody_can_read_is_replaced_by_the_version_before(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    go(cluster)
    write(tenant, "{ this is no policy")
    go(cluster)
    assert (running_number(tenant), len(server.puts)) == (1, 1)
    assert "cannot be read" in NetworkPolicy.objects.of(tenant).get().trouble


def test_own_tests_that_fail_keep_the_version_out_and_say_which(cluster, server):
    tests = [{"src": "a", "accept": ["b:22"]}]
    tenant = settled(cluster, "acme", allows("a", "b", 22, tests=tests), "a", "b")
    go(cluster)
    assert "tests" in server.checks[-1]
    assert "tests" not in server.policy
    server.refuses = lambda text: (
        "test(s) failed:\n100.64.0.1 -> 100.64.0.2:22: expected ALLOWED, got DENIED" if '"443"' in text and "accept" in text else ""
    )
    write(tenant, allows("a", "b", 443, tests=tests))
    go(cluster)
    assert running_number(tenant) == 1
    assert "100.64.0.1 should reach 100.64.0.2:22" in NetworkPolicy.objects.of(tenant).get().trouble


def test_own_tests_of_a_running_version_that_fail_since_devices_changed_cut_nobody_off(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b", 22, tests=[{"src": "a", "accept": ["b:22"]}]), "a", "b")
    other = settled(cluster, "bolt", allows("c", "d"), "c", "d")
    go(cluster)
    server.refuses = lambda text: (
        "test(s) failed:\n100.64.0.1 -> 100.64.0.2:22: expected ALLOWED, got DENIED" if "accept" in text.partition('"tests"')[2] else ""
    )
    write(other, allows("c", "d", 80))
    go(cluster)
    assert [running_number(each) for each in (tenant, other)] == [1, 2]
    assert row(cluster).running.versions == {"acme": 1, "bolt": 2}
    assert "should reach" in NetworkPolicy.objects.of(tenant).get().trouble


# ---- servers that do not do what they are told ----------------------------------------------------------------------------
def test_a_server_that_refuses_keeps_what_it_runs_and_is_tried_again_after_longer_and_longer_pauses(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    go(cluster)
    before, now = row(cluster).running, timezone.now()
    write(tenant, allows("a", "b", 80))
    server.before_put = lambda: setattr(server, "refuses", refusing("the disk is full"))
    pauses = []
    for attempt in range(1, 5):
        server.refuses = refusing("")
        push(cluster.pk, now)
        assert (row(cluster).running, row(cluster).failures) == (before, attempt)
        assert writers.ripe(now=row(cluster).try_at - 0.1 * S) == []
        pauses.append((row(cluster).try_at - now) / S)
        now = row(cluster).try_at
        assert writers.ripe(now=now) == [cluster.pk]
        assert Alert.objects.filter(kind=Alert.Kind.POLICY_STUCK, subject=cluster.pk, closed_at=None).exists() == (attempt >= 3)
    assert all(wanted <= pause < wanted * 1.9 for pause, wanted in zip(pauses, [2, 4, 8, 16], strict=True)), (
        "of the writer's own clock, which runs on"
    )
    assert pushes(cluster) == [("stored", ""), ("refused", "setting policy: the disk is full")], "one row for one document that fails"
    server.before_put, server.refuses = lambda: None, refusing("")
    push(cluster.pk, now)
    assert row(cluster).failures == 0
    assert pushes(cluster) == [("stored", ""), ("stored", "")]
    assert not Alert.objects.filter(kind=Alert.Kind.POLICY_STUCK, closed_at=None).exists()
    assert writers.pause(40) == timedelta(minutes=5)


def test_a_dead_server_is_told_of_and_nothing_is_lost(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    server.stop()
    assert go(cluster) is None
    assert (row(cluster).failures, row(cluster).done, row(cluster).running) == (1, 0, None)
    assert row(cluster).trouble
    assert running_number(tenant) is None


def test_a_silent_server_that_took_the_document_is_believed_when_it_shows_it(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    server.silence = "after"
    assert go(cluster).state == "stored"
    assert (running_number(tenant), len(server.puts)) == (1, 1)


def test_a_silent_server_that_did_not_take_it_is_tried_again(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    server.silence = "before"
    assert go(cluster).state == "failed"
    assert (row(cluster).failures, row(cluster).running) == (1, None)
    server.silence = ""
    assert go(cluster).state == "stored"


def test_a_server_that_falls_silent_for_good_is_asked_what_it_took_when_it_speaks_again(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    server.before_put = lambda: setattr(server, "silence", "always")
    assert go(cluster) is None
    assert pushes(cluster) == [("pushing", "")]
    server.silence, server.before_put = "", lambda: None
    assert go(cluster).state == "stored"
    assert (pushes(cluster), len(server.puts), running_number(tenant)) == ([("stored", "")], 1, 1)


def test_a_push_that_never_arrived_is_given_up_and_the_newest_document_is_pushed(cluster, server):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    PolicyPush.objects.create(cluster=cluster, fence=0, started_at=timezone.now(), document="something", digest="x", versions={"acme": 1})
    go(cluster)
    assert [state for state, _ in pushes(cluster)] == ["superseded", "stored"]
    assert running_number(tenant) == 1


# ---- policies of others --------------------------------------------------------------------------------------------------
def test_a_policy_that_somebody_else_wrote_is_kept_as_evidence_and_replaced(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    server.policy = '{"acls": []} // mine' + " " * findings.LONGEST_TEXT
    assert go(cluster).state == "stored"
    assert policy.is_ours(server.policy)
    found = AuditFinding.objects.across_tenants().get(kind=AuditFinding.Kind.POLICY_FOREIGN)
    assert (found.cluster, found.times, found.over_at) == (cluster, 1, None)
    assert found.evidence["document"].startswith('{"acls": []} // mine')
    assert len(found.evidence["document"]) == findings.LONGEST_TEXT
    assert Alert.objects.filter(kind=Alert.Kind.POLICY_FOREIGN, subject=cluster.pk, closed_at=None).exists()


def test_a_finding_is_one_row_while_it_lasts_and_another_one_when_it_comes_again(cluster):
    kind, now = AuditFinding.Kind.STRANGER_USER, timezone.now()
    first = findings.keep(cluster.pk, kind, "eve", {"id": 7}, now=now)
    findings.repaired(first, "deleted", now=now)
    again = findings.keep(cluster.pk, kind, "eve", {"id": 8}, now=now + S)
    assert (again.pk, again.times, again.evidence, again.repaired_at, again.first_at) == (first.pk, 2, {"id": 8}, None, now)
    assert findings.over(cluster.pk, kind, "eve", now=now + 2 * S)
    assert not findings.over(cluster.pk, kind, "eve", now=now + 2 * S)
    assert findings.keep(cluster.pk, kind, "eve", {}, now=now + 3 * S).pk != first.pk


def test_push_now_asks_the_server_and_mends_what_somebody_changed_there(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    done = go(cluster)
    server.policy = policy.base()
    writers.demand(cluster, actor="tests", now=timezone.now())
    assert go(cluster) != done
    assert server.policy == done.document


# ---- writers among each other --------------------------------------------------------------------------------------------
def test_one_writer_at_a_time_and_a_dead_one_is_succeeded(cluster):
    now = timezone.now()
    wishes.touch(cluster.pk, now=now)
    first = writers.take(cluster.pk, now=now)
    assert first is not None
    assert writers.take(cluster.pk, now=now + 59 * S) is None
    assert writers.ripe(now=now + 59 * S) == []
    second = writers.take(cluster.pk, now=now + 60 * S)
    assert second is not None
    assert second.fence == first.fence + 1
    with pytest.raises(writers.Fenced):
        writers.hold(first)
    writers.release(first)
    assert row(cluster).lease_until is not None, "the lease is the second one's"
    writers.release(second)
    assert writers.take(cluster.pk, now=now) is not None


def overtake(cluster: Cluster) -> None:
    """Another writer comes, this one's lease being over."""
    ClusterPolicy.objects.filter(pk=cluster.pk).update(fence=F("fence") + 1, lease_until=None)


def test_a_writer_that_lost_its_lease_while_it_asked_stops_before_it_tells_the_server(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    with writing(cluster) as (writer, admin):
        overtake(cluster)
        with pytest.raises(writers.Fenced):
            pushing.carry(writer, admin)
    assert server.puts == []
    assert (row(cluster).running, PolicyPush.objects.count()) == (None, 0)


def test_a_writer_that_was_overtaken_while_it_told_the_server_makes_the_next_one_look(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    with writing(cluster) as (writer, admin):
        late = PolicyPush(cluster=cluster, document=policy.MARK + " late", digest="late")
        overtake(cluster)
        with pytest.raises(writers.Fenced):
            pushing._put(writer, admin, late)
    assert server.policy == late.document
    asked = server.gets
    done = go(cluster)
    assert server.gets > asked
    assert server.policy == done.document


@contextmanager
def writing(cluster: Cluster) -> Iterator[tuple[writers.Writer, Admin]]:
    writer = writers.take(cluster.pk, now=timezone.now())
    assert writer is not None
    with clusters.admin_of(cluster) as admin:
        yield writer, admin


# ---- retention -----------------------------------------------------------------------------------------------------------
def test_old_pushes_are_forgotten_but_for_the_newest_and_the_running_one(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    running, now = go(cluster), timezone.now()
    old = [
        PolicyPush(cluster=cluster, fence=0, state="refused", started_at=now, finished_at=now, document="", digest=str(n))
        for n in range(60)
    ]
    PolicyPush.objects.bulk_create(old)
    assert history.forget(now=now + timedelta(days=89)) == 0
    assert history.forget(now=now + timedelta(days=91)) == 10
    assert PolicyPush.objects.count() == 51
    assert PolicyPush.objects.filter(pk=running.pk).exists()


# ---- what asks for a push ------------------------------------------------------------------------------------------------
def test_devices_that_documents_may_name_ask_for_a_push_and_those_of_plain_tenants_do_not(cluster):
    named, plain = settled(cluster, "acme", allows("a", "b"), "a"), settled(cluster, "bolt", "", "c")

    def asks(tenant: Tenant, **seen: Any) -> bool:
        before, now = row(cluster).wanted, timezone.now()
        devices.observe(cluster.pk, [sighting(tenant, **seen)], seen_at=now, now=now, complete=False)
        return row(cluster).wanted > before

    assert not asks(plain, node_id=70)
    assert not asks(plain, node_id=70, name="other")
    key, _ = factories.enrolment_key(plain)
    EnrolmentKey.objects.of(plain).filter(pk=key.pk).update(tags=["tag:web"])
    assert asks(plain, node_id=71, tags=("tag:bolt--web",))
    assert asks(plain, node_id=71, tags=("tag:bolt--web",), name="other")
    assert asks(named, node_id=72)
    assert not asks(named, node_id=72, online=True), "nothing that a document speaks of"
    assert asks(named, node_id=72, ipv4="100.64.0.99")
    before = row(cluster).wanted
    devices.observe(cluster.pk, [], seen_at=timezone.now(), now=timezone.now(), complete=False, gone={72})
    assert row(cluster).wanted == before + 1


def sighting(tenant: Tenant, *, node_id: int, **seen: Any) -> Sighting:
    now = timezone.now()
    facts = {
        "key_id": None, "machine_key": f"m{node_id}", "node_key": f"n{node_id}", "ipv4": f"100.64.1.{node_id}", "ipv6": None, "hostname": "h",
        "name": f"h-{node_id}", "tags": (), "ephemeral": False, "joined_at": now, "last_seen": now, "key_expires_at": None, **seen,
    }  # fmt: skip
    return Sighting(node_id=node_id, account=tenant.account, **facts)


def test_placing_a_tenant_and_its_ends_ask_for_a_push(cluster, django_capture_on_commit_callbacks):
    customer = factories.customer()
    assert bootstrap(customer.secret).status_code == 200
    for act in (lifecycle.suspend, lifecycle.resume, lifecycle.close, lifecycle.reopen):
        before = row(cluster).wanted
        with django_capture_on_commit_callbacks(execute=True):
            act(customer.tenant, now=timezone.now(), actor="tests")
        assert row(cluster).wanted == before + 1
    before = row(cluster).wanted
    wishes.touch_all(now=timezone.now())
    assert row(cluster).wanted == before + 1
