"""Audits find what a server runs or holds and ACS did not mean, keep it, put right what they safely can, and see that it is over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from acs import forgetting, metrics, standings, tasks
from placement import devices, policy, routing
from placement.errors import ClusterError
from placement.models import Alert, AuditFinding, Binding, Cluster, ClusterPolicy, Device, Route
from placement.policies import auditing, findings, repairing, taking, writers
from placement.policies.compiling import digest_of
from tenants import lifecycle
from tenants.models import AuditEvent, Tenant
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.conftest import clusters_to_drop, make_fleet_cluster, manage, url_as
from tests.placement.policies.audited import Ground, ground, open_kinds, repairs, told
from tests.servers import Server, run_headscale, run_simulator

pytestmark = pytest.mark.django_db
SIMULATED = [pytest.param(("simulator", "fleet"), id="fleet"), pytest.param(("simulator", "alone"), id="external")]
REAL = pytest.param(("headscale", "fleet"), id="headscale", marks=[pytest.mark.headscale, pytest.mark.tailscale, pytest.mark.processes])
FOREIGN = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
Row = Callable[[], Cluster]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Callable[[str, str], tuple[Server, Row]]]:
    """The servers of this module by program and home, each started once, when a test first wants it."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        known: dict[tuple[str, str], tuple[Server, Row]] = {}

        def home(program: str, where: str) -> tuple[Server, Row]:
            if (program, where) not in known:
                known[program, where] = _start(stack, tmp_path_factory.mktemp(f"{program}-{where}"), program, where)
            return known[program, where]

        yield home


def _start(stack: Any, folder: Path, program: str, where: str) -> tuple[Server, Row]:
    run = run_simulator if program == "simulator" else run_headscale
    cluster = make_fleet_cluster(**({"fleet_id": None} if where == "alone" else {}))
    clusters_to_drop.remove(cluster.cluster_id)  # it outlives the first test
    stack.callback(clusters_to_drop.append, cluster.cluster_id)
    home = {} if where == "alone" else {"database_url": cluster.url}
    server = stack.enter_context(run(folder, prefix_v4=cluster.prefix_v4, prefix_v6=cluster.prefix_v6, **home))
    return server, lambda: cluster.row


@pytest.fixture
def here(request: pytest.FixtureRequest, homes: Any, db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    program, where = getattr(request, "param", ("simulator", "fleet"))
    if program == "headscale" and not (shutil.which("tailscaled") and shutil.which("tailscale")):
        pytest.skip("tailscale, tailscaled not on PATH")
    if program == "simulator":
        monkeypatch.setattr(auditing, "SECOND_LOOK", 0.02)
        monkeypatch.setattr(auditing, "CALM_PAUSE", 0.02)
    server, row = homes(program, where)
    with ground(server, row, tmp_path) as made:
        yield made


everywhere = pytest.mark.parametrize("here", [*SIMULATED, REAL], indirect=True)
simulated = pytest.mark.parametrize("here", SIMULATED, indirect=True)


def noticed(here: Ground) -> list[int]:
    """The nodes that a poll has a closer look taken at."""
    shown = [devices.sighting_of(node) for node in here.admin.nodes()]
    return taking.not_taken(here.cluster.pk, {node.node_id: (node.account, node.tags) for node in shown})


def alert(kind: str, cluster: Cluster) -> Alert | None:
    return Alert.objects.filter(kind=kind, subject=cluster.pk, closed_at=None).first()


# ---- the document --------------------------------------------------------------------------------------------------------
@everywhere
def test_a_foreign_policy_is_kept_replaced_and_over(here):
    acme, bolt = here.tenant("acme", "tag:web"), here.tenant("bolt")
    here.device(acme, "laptop")
    here.device(bolt, "desk")
    here.push()
    assert (told(here.audit()), open_kinds(here.cluster)) == ([], [])
    meant = here.admin.policy().document
    here.admin.put_policy(FOREIGN)

    done = here.audit()
    crossing = sorted(("filter", f"{a} -> {b}") for a, b in ((acme.account, bolt.account), (bolt.account, acme.account)))
    assert told(done) == [*crossing, ("policy-foreign", digest_of(FOREIGN))]
    found = AuditFinding.objects.across_tenants().get(kind="policy-foreign", over_at=None)
    assert found.evidence == {"document": FOREIGN, "characters": len(FOREIGN)}
    assert repairs(done) == {"asked for a push"}
    assert alert("policy-foreign", here.cluster)
    assert alert("drift", here.cluster)

    here.wish_is_done()
    assert here.admin.policy().document == meant
    assert (told(here.audit()), open_kinds(here.cluster)) == ([], [])
    assert alert("policy-foreign", here.cluster) is alert("drift", here.cluster) is None
    found.refresh_from_db()
    assert (found.times, found.repair) == (2, "replaced by the next push")


@simulated
def test_each_foreign_document_is_a_finding_of_its_own(here):
    here.tenant("acme")
    here.push()
    for document in (FOREIGN, FOREIGN + " // again"):
        here.admin.put_policy(document)
        here.audit()
        here.wish_is_done()
    here.audit()
    assert AuditFinding.objects.across_tenants().filter(kind="policy-foreign", over_at__isnull=False).count() == 2


def test_another_document_of_ours_is_replaced_by_the_one_that_was_pushed(here):
    here.tenant("acme", "tag:web")
    here.push()
    former, meant = policy.base(), here.admin.policy().document
    here.admin.put_policy(former)
    done = here.audit()
    assert told(done) == [("policy-other", digest_of(former))]
    assert done.found[0].evidence["document"] == former
    here.wish_is_done()
    assert (here.admin.policy().document, told(here.audit())) == (meant, [])


@pytest.mark.parametrize("here", [REAL], indirect=True)
def test_a_document_that_is_stored_and_not_in_force_is_stored_once_more(here):
    """A row that somebody wrote behind the server's back: only the rules in force tell that it uses another one."""
    acme, bolt = here.tenant("acme"), here.tenant("bolt")
    here.device(acme, "laptop")
    here.device(bolt, "desk")
    here.push()
    meant = here.admin.policy().document
    here.admin.put_policy(FOREIGN)
    with psycopg.connect(url_as("acs_owner"), autocommit=True) as owner:
        owner.execute("set role acs_headscale_owner")
        owner.execute(
            "insert into headscale.policies (data, created_at, updated_at, cluster_id) values (%s, now(), now(), %s)",
            [meant, here.cluster.pk],
        )
    assert here.admin.policy().document == meant
    done = here.audit()
    assert {kind for kind, _ in told(done)} == {"policy-other", "filter"}
    assert repairs(done) == {f"stored #{ClusterPolicy.objects.get().running_id} once more"}
    here.wish_is_done()
    assert (here.admin.policy().document, told(here.audit())) == (meant, [])


def test_devices_of_a_closed_tenant_reach_nobody(here):
    acme, bolt = here.tenant("acme", "tag:web"), here.tenant("bolt", acls=[{"action": "accept", "src": ["*"], "dst": ["*:*"]}])
    here.device(acme, "laptop")
    here.device(bolt, "desk")
    here.device(bolt, "lamp")
    here.push()
    lifecycle.close(bolt, now=timezone.now(), actor="system:tests")
    assert told(here.audit()) == [("filter", f"{bolt.account} -> {bolt.account}")]
    here.push()
    assert told(here.audit()) == []


# ---- users ---------------------------------------------------------------------------------------------------------------
@simulated
def test_a_user_of_nobody_is_told_and_left_alone(here):
    here.tenant("acme")
    here.push()
    eve = here.admin.make_user("eve")
    assert told(here.audit()) == [("stranger-user", "eve")]
    assert told(here.audit()) == [("stranger-user", "eve")]
    assert AuditFinding.objects.across_tenants().get(subject="eve").times == 2
    assert [user.name for user in here.admin.users(name="eve")] == ["eve"]
    here.admin.delete_user(eve.id)
    assert told(here.audit()) == []


@simulated
def test_a_tenant_without_its_user_gets_it_back(here):
    acme = here.tenant("acme")
    here.push()
    here.admin.delete_user(Binding.objects.of(acme).get().headscale_user_id)
    done = here.audit()
    assert told(done) == [("user-missing", acme.account)]
    [user] = here.admin.users(name=acme.account)
    assert (Binding.objects.of(acme).get().headscale_user_id, repairs(done)) == (user.id, {f"made user {user.id}"})
    assert told(here.audit()) == []


def test_a_tenant_that_is_being_placed_is_no_stranger(here):
    factories.tenant("placed-soon")
    here.admin.make_user("placed-soon")
    here.push()
    assert told(here.audit()) == []


# ---- nodes ---------------------------------------------------------------------------------------------------------------
@simulated
def test_a_device_of_nobody_is_told_with_what_it_is(here):
    here.tenant("acme")
    here.push()
    eve = here.tenant("eve")
    here.device(eve, "intruder")
    Device.objects.of(eve).delete()
    Binding.objects.of(eve).delete()
    Tenant.objects.filter(pk=eve.pk).update(account="somebody-else")
    here.push()
    [node] = here.admin.nodes()
    assert told(here.audit()) == [("stranger-node", f"node {node.id}"), ("stranger-user", eve.account)]
    found = AuditFinding.objects.across_tenants().get(kind="stranger-node")
    assert (found.evidence["user"], found.evidence["hostname"]) == (eve.account, "intruder")
    assert [one.id for one in here.admin.nodes()] == [node.id]


@everywhere
def test_tags_given_behind_our_back_are_taken_back(here):
    acme, bolt = here.tenant("acme", "tag:web"), here.tenant("bolt", "tag:db")
    tagged = here.device(acme, "pos", tags=(f"tag:{acme.account}--web",))
    plain = here.device(acme, "laptop")
    here.device(bolt, "base", tags=(f"tag:{bolt.account}--db",))
    here.push()
    assert told(here.audit()) == []
    for device in (tagged, plain):
        with suppress(ClusterError):  # a fleet refuses it, and its server's memory may keep it
            here.admin.set_tags(device.node_id, [f"tag:{bolt.account}--db"])
    here.observe()
    changed = [device for device in (tagged, plain) if here.node(device).tags == (f"tag:{bolt.account}--db",)]
    assert changed or not here.cluster.is_external

    assert noticed(here) == [device.node_id for device in changed], "a poll has an audit look closer"

    done = here.audit()
    assert told(done) == sorted(("tag", f"node {device.node_id}") for device in changed)
    assert noticed(here) == []
    assert here.node(tagged).tags == (f"tag:{acme.account}--web",)
    if plain in changed:
        assert here.node(plain).expiry <= timezone.now()
        assert AuditEvent.objects.of(acme).filter(verb="device.expire", actor="system:audit").count() == 1
        assert told(here.audit()) == [("tag", f"node {plain.node_id}")], "it cannot become untagged again"
        assert AuditEvent.objects.of(acme).filter(verb="device.expire", actor="system:audit").count() == 1
    assert not AuditFinding.objects.across_tenants().filter(subject=f"node {tagged.node_id}", over_at=None).exists() or plain not in changed


def test_a_tag_that_its_tenant_does_not_declare_is_a_finding_and_one_that_it_declares_is_not(here):
    acme = here.tenant("acme", "tag:web")
    device = here.device(acme, "pos")
    here.push()
    here.admin.set_tags(device.node_id, [f"tag:{acme.account}--web"])
    assert told(here.audit()) == []
    here.observe()
    device.refresh_from_db()
    assert device.tags == [f"tag:{acme.account}--web"]
    stray = here.device(acme, "stray", tags=(f"tag:{acme.account}--ci",))
    assert (stray.tags, told(here.audit())) == ([], [("tag", f"node {stray.node_id}")])


@pytest.mark.parametrize("here", [pytest.param(("simulator", "alone"), id="external")], indirect=True)
def test_of_many_devices_at_once_none_loses_its_login(here, monkeypatch):
    """Then it is rather ACS that is wrong, or its database."""
    acme, bolt = here.tenant("acme"), here.tenant("bolt", "tag:db")
    lost = [here.device(acme, f"till-{n}") for n in range(3)]
    here.push()
    monkeypatch.setattr(repairing, "MOST_ENDED", 2)
    for device in lost:
        here.admin.set_tags(device.node_id, [f"tag:{bolt.account}--db"])
    done = here.audit()
    assert (len(done.found), repairs(done)) == (3, {""})
    assert [here.node(device).expiry for device in lost] == [None] * 3


@everywhere
def test_a_tagged_device_that_was_handed_over_is_its_tenants_again(here):
    acme, bolt = here.tenant("acme", "tag:pos"), here.tenant("bolt")
    device = here.device(acme, "pos", tags=(f"tag:{acme.account}--pos",))
    here.device(bolt, "desk")
    here.push()
    assert told(here.audit()) == []
    machine = here.machines[device.node_id]
    if machine.client:
        machine.leave()
    asked = machine.ask("pos")
    with suppress(ClusterError):
        here.admin.register(bolt.account, asked)
    here.observe()
    assert here.node(device).user_name == bolt.account
    device.refresh_from_db()
    assert device.tags == [f"tag:{acme.account}--pos"]

    done = here.audit()
    assert told(done) == [("owner", f"node {device.node_id}")]
    assert done.found[0].tenant == acme
    node = here.node(device)
    assert (node.tags, node.user_name) == ((f"tag:{acme.account}--pos",), "tagged-devices")
    assert node.expiry <= timezone.now()
    assert told(here.audit()) == []


@everywhere
def test_a_route_that_somebody_approved_on_the_server_is_taken_back(here):
    acme, bolt = here.tenant("acme"), here.tenant("bolt")
    router = here.device(acme, "router", routes=("10.1.0.0/16", "10.2.0.0/16"))
    here.device(bolt, "desk")
    now = timezone.now()
    kept = Route.objects.create(
        tenant=acme, device=router, cluster=here.cluster, prefix="10.1.0.0/16", state="approved", decided_at=now, created_at=now
    )
    routing.tell(here.cluster, [router.node_id])
    here.push()
    assert told(here.audit()) == []
    here.admin.approve_routes(router.node_id, ["10.1.0.0/16", "10.2.0.0/16"])
    done = here.audit()
    assert told(done) == [("route", f"node {router.node_id}")]
    assert done.found[0].evidence["odd"] == ["10.2.0.0/16"]
    assert here.node(router).approved_routes == (kept.prefix,)
    assert told(here.audit()) == []


def test_memory_that_differs_from_the_rows_ends_the_login(here):
    acme = here.tenant("acme", "tag:web")
    device = here.device(acme, "laptop")
    here.push()
    with psycopg.connect(url_as("acs_owner"), autocommit=True) as owner:
        owner.execute("set role acs_headscale_owner")
        owner.execute("update headscale.nodes set tags = %s where id = %s", [json.dumps([f"tag:{acme.account}--web"]), device.node_id])
    done = here.audit()
    assert told(done) == [("memory", f"node {device.node_id}")]
    assert done.found[0].evidence["row"] == {"user": acme.account, "tags": [f"tag:{acme.account}--web"]}
    assert here.node(device).expiry <= timezone.now()


# ---- when ----------------------------------------------------------------------------------------------------------------
def test_what_only_the_first_look_shows_is_nothing(here, monkeypatch):
    acme = here.tenant("acme")
    here.device(acme, "laptop")
    here.push()
    eve = here.admin.make_user("eve")
    monkeypatch.setattr(auditing.time, "sleep", lambda _: here.admin.delete_user(eve.id))
    assert (told(here.audit()), AuditFinding.objects.across_tenants().count()) == ([], 0)


def test_policies_are_not_compared_while_a_push_is_under_way(here):
    here.tenant("acme", "tag:web")
    here.push()
    here.admin.put_policy(FOREIGN)
    before = here.audit()
    assert before.outcome == "found"
    writer = writers.take(here.cluster.pk, now=timezone.now())
    done = here.audit()
    assert (done.outcome, done.blind) == ("partial", {"policy-foreign", "policy-other", "filter"})
    assert open_kinds(here.cluster) == ["policy-foreign"], "what could not be seen is neither found nor over"
    writers.release(writer)
    ClusterPolicy.objects.update(done=F("wanted") - 1, failures=3)
    assert here.audit().outcome == "found", "a push that fails and fails is no reason not to look"


def test_of_a_server_that_is_away_nothing_is_found_and_nothing_is_over(here):
    here.tenant("acme")
    here.push()
    here.admin.make_user("eve")
    assert here.audit().outcome == "found"
    checked = ClusterPolicy.objects.get().checked_at
    Cluster.objects.filter(pk=here.cluster.pk).update(admin_url="http://127.0.0.1:9")
    done = here.audit()
    assert (done.outcome, done.found, open_kinds(here.cluster)) == ("away", (), ["stranger-user"])
    assert ClusterPolicy.objects.get().checked_at == checked
    Cluster.objects.filter(pk=here.cluster.pk).update(state="offline")
    assert here.audit().outcome == "skipped"


def test_a_server_whose_filters_cannot_be_read_is_audited_in_part(here):
    here.tenant("acme")
    here.push()
    Cluster.objects.filter(pk=here.cluster.pk).update(metrics_url="http://127.0.0.1:9/metrics")
    done = here.audit()
    assert (done.outcome, done.blind, ClusterPolicy.objects.get().checked_at) == ("partial", {"filter"}, None)


# ---- what is left of it --------------------------------------------------------------------------------------------------
def test_gauges_tell_what_is_open_and_how_old_the_last_audit_is(here):
    here.tenant("acme")
    here.push()
    here.audit()
    here.admin.make_user("eve")
    here.audit()
    shown = {standing.name: dict(standing.values) for standing in standings.look(timezone.now())}
    assert shown["acs_findings_open"][here.cluster.pk, "stranger-user"] == 1
    assert shown["acs_findings_open"][here.cluster.pk, "filter"] == 0
    assert 0 <= shown["acs_audit_age_seconds"][here.cluster.pk,] < 60


def test_what_is_over_is_forgotten_after_ninety_days(here):
    now = timezone.now()
    for subject, days in (("old", 91), ("young", 89)):
        findings.keep(here.cluster.pk, AuditFinding.Kind.STRANGER_USER, subject, {}, now=now - timedelta(days=days))
        findings.over(here.cluster.pk, AuditFinding.Kind.STRANGER_USER, subject, now=now - timedelta(days=days))
    findings.keep(here.cluster.pk, AuditFinding.Kind.STRANGER_USER, "open", {}, now=now - timedelta(days=400))
    forgetting.old(now=now)
    assert set(AuditFinding.objects.across_tenants().values_list("subject", flat=True)) == {"young", "open"}


# ---- the command ---------------------------------------------------------------------------------------------------------
def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status and output of `manage.py isolation WORDS`."""
    capsys.readouterr()
    try:
        call_command("isolation", *words)
    except SystemExit as ended:
        return int(str(ended.code)), capsys.readouterr().out
    return 0, capsys.readouterr().out


def test_the_command_audits_and_ends_with_one_where_something_is_open(here, capsys):
    cluster_id = here.cluster.pk
    here.tenant("acme")
    here.push()
    assert said(capsys, "audit", cluster_id) == (0, f"{cluster_id}: runs what ACS meant\n")
    assert said(capsys, "findings") == (0, "Nothing is open.\n")
    here.admin.put_policy(FOREIGN)
    status, text = said(capsys, "audit", cluster_id)
    assert (status, "a policy that ACS did not write" in text, "asked for a push" in text) == (1, True, True)
    number = AuditFinding.objects.across_tenants().get().pk
    status, text = said(capsys, "show", str(number))
    assert (status, text.splitlines()[-1]) == (1, FOREIGN)
    assert said(capsys, "findings")[0] == 1
    here.wish_is_done()
    assert said(capsys, "audit", cluster_id) == (0, f"{cluster_id}: runs what ACS meant; 1 over\n")
    status, text = said(capsys, "findings", "--all")
    assert (status, "policy-foreign" in text) == (0, True)
    Cluster.objects.filter(pk=cluster_id).update(admin_url="http://127.0.0.1:9")
    status, text = said(capsys, "audit", cluster_id)
    assert (status, "could not be looked at" in text) == (1, True)


def test_the_command_names_what_it_does_not_know(here):
    with pytest.raises(CommandError, match="no cluster nowhere"):
        call_command("isolation", "audit", "nowhere")
    with pytest.raises(CommandError, match="no finding 7"):
        call_command("isolation", "show", "7")


def test_the_task_counts_what_came_of_it(here):
    here.tenant("acme")
    here.push()
    tasks.audit_cluster(here.cluster.pk)
    assert metrics.AUDITS.labels("well", here.cluster.pk)._value.get() == 1
    assert here.cluster.pk in auditing.served()


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_worker_of_its_own_rights_audits_and_repairs(db, tmp_path):
    (tmp_path / "a").mkdir()
    with serve_cluster(tmp_path / "a", real=False) as (cluster_id, server), server.admin() as admin:
        acme = factories.tenant("acme-inc")
        Binding.objects.create(tenant=acme, cluster_id=cluster_id, headscale_user_id=12345, expected_load=1, reason="test")
        admin.put_policy(FOREIGN)
        admin.make_user("eve")
        done = manage("isolation", "audit", cluster_id, role="worker", check=False)
        assert (done.returncode, done.stdout.count("  #")) == (1, 3), done.stdout + done.stderr
        assert not manage("policies", "now", cluster_id, role="worker").stderr
        [user] = admin.users(name="acme-inc")
        assert Binding.objects.of(acme).get().headscale_user_id == user.id
        done = manage("isolation", "audit", cluster_id, role="worker", check=False)
        assert done.stdout.splitlines()[0] == f"{cluster_id}: runs or holds what ACS did not mean; 2 over"
        assert "eve; nothing done about it" in done.stdout
