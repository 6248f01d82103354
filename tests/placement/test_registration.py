"""A cluster serves only after its server was looked at, and every refusal says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from placement import clusters, inspection, policy, registration
from placement.headscale.fleet import fleets, noise
from placement.headscale.fleet.binary import free_ports
from placement.models import Binding, Cluster, Fleet
from placement.registration import External, register
from tenants.errors import WrongState
from tenants.models import AuditEvent, Plan, Tenant
from tests.conftest import FleetCluster, manage
from tests.fakes.headscale_http import KEY, NOISE, FakeHeadscale
from tests.servers import Server, run_headscale

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[FakeHeadscale]:
    with FakeHeadscale().running() as running:
        yield running


@pytest.fixture
def row(fleet_clusters: Callable[..., FleetCluster], server: FakeHeadscale) -> Cluster:
    """An external cluster whose row stands, never registered."""
    made = fleet_clusters(
        fleet_id=None,
        state="offline",
        registered_at=None,
        client_url=server.url,
        admin_url=server.url,
        metrics_url=f"{server.url}/metrics",
        prefix_v4="100.80.0.0/16",
        prefix_v6="fd7a:115c:a1e0:80::/64",
    )
    return made.row


def go(row: Cluster, external: External | None = None, **options: Any) -> registration.Registration:
    return register(row.pk, external=external or External(admin_key=KEY), actor="tests", now=NOW, **options)


def refused(row: Cluster, kind: type[Exception], match: str, external: External | None = None, **options: Any) -> None:
    """The registration is refused for this reason, and nothing of it stays."""
    with pytest.raises(kind, match=match):
        go(row, external, **options)
    row.refresh_from_db()
    assert (row.state, row.registered_at) == ("offline", None)
    assert not AuditEvent.objects.across_tenants().filter(target=row.pk).exists()


# ---- what is accepted --------------------------------------------------------------------------------------------------
def test_a_server_in_good_order_becomes_active_after_it_has_the_base_policy(row, server):
    done = go(row)
    row.refresh_from_db()
    assert (done.policy, done.version, row.state, row.version) == ("stored", "0.29.2", "active", "0.29.2")
    assert (row.noise_public_key, row.registered_at) == (NOISE, NOW)
    assert server.puts == [policy.base()]
    event = AuditEvent.objects.across_tenants().get(target=row.pk)
    assert (event.verb, event.actor, event.detail["state"]) == ("cluster.register", "tests", "active")
    with clusters.admin_of(row) as admin:
        assert admin.nodes() == []


def test_the_admin_key_is_sealed_to_its_row(row):
    go(row)
    row.refresh_from_db()
    assert KEY not in row.admin_key_sealed
    row.cluster_id = "another"
    with pytest.raises(Exception, match="does not open"):
        clusters.admin_of(row)


def test_registering_again_looks_again_and_keeps_state_and_policy(row, server):
    go(row, cordoned=True)
    assert register(row.pk, external=None, actor="tests", now=NOW).policy == "kept"
    row.refresh_from_db()
    assert row.state == "cordoned"
    assert len(server.puts) == 1
    server.health = "fail"
    with pytest.raises(inspection.Unhealthy):
        register(row.pk, external=None, actor="tests", now=NOW)
    row.refresh_from_db()
    assert row.state == "cordoned"


def test_a_policy_with_tenants_in_it_is_not_overwritten_by_the_base(row, server):
    go(row)
    plan = Plan.objects.create(name="p", title="P", max_devices=5)
    tenant = Tenant.objects.create(account="acme", plan=plan)
    Binding.objects.create(tenant=tenant, cluster=row, headscale_user_id=1, expected_load=1, reason="test")
    server.policy = policy.MARK + '\n{"acls": [], "groups": {}}'
    assert go(row).policy == "kept"
    assert len(server.puts) == 1


def test_registering_never_writes_the_ledger_that_bindings_raise_meanwhile(row, server):
    go(row)
    stale = Cluster.objects.get(pk=row.pk)
    Cluster.objects.filter(pk=row.pk).update(committed=7)
    registration._admit(stale, registration.Facts("0.29.2", NOISE), "kept", cordoned=False, actor="tests", now=NOW)
    row.refresh_from_db()
    assert row.committed == 7


# ---- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("version", ["0.28.0", "v0.29.1", "0.29.2-rc.1", "0.9.9"])
def test_an_old_server_is_refused(row, server, version):
    server.version = version
    refused(row, inspection.UnsupportedVersion, r"below 0\.29\.2.*Upgrade it")
    assert server.puts == []


@pytest.mark.parametrize("version", ["dev", "", "0.29", "main-8eea894"])
def test_a_build_that_tells_no_version_is_refused(row, server, version):
    server.version = version
    refused(row, inspection.UnsupportedVersion, "no release")


@pytest.mark.parametrize("version", ["v0.29.2", "0.30.0-beta.1", "0.29.3-0.20261101000000-8eea89488c64", "v0.29.2+dirty", "1.0.0"])
def test_a_later_or_equal_version_is_accepted(row, server, version):
    server.version = version
    assert go(row).cluster.state == "active"


def test_a_sick_server_is_refused(row, server):
    server.health = "fail"
    refused(row, inspection.Unhealthy, "database")


def test_a_server_that_is_not_there_is_refused(row, server):
    refused(row, inspection.NoAnswer, "is it running", External(admin_key=KEY, admin_url=f"http://127.0.0.1:{free_ports(1)[0]}"))


def test_a_wrong_admin_key_is_refused(row, server):
    refused(row, inspection.AdminKeyRefused, "apikeys create", External(admin_key=KEY[:-1] + "x"))


def test_another_noise_key_than_the_devices_know_is_refused(row, server):
    go(row)
    server.noise_key = "mkey:" + "cd" * 32
    with pytest.raises(inspection.OtherNoiseKey, match=r"noise_private\.key"):
        go(row)


@pytest.mark.parametrize("prefix", ["100.80.128.0/20", "100.64.0.0/10"])
def test_a_prefix_of_another_cluster_is_refused(row, server, fleet_clusters, prefix):
    other = fleet_clusters(prefix_v4="100.80.128.0/17", prefix_v6="fd7a:115c:a1e0:99::/64", state="offline", registered_at=None)
    refused(
        row,
        inspection.UnusablePrefix,
        f"overlaps 100.80.128.0/17 of the cluster {other.cluster_id}",
        External(admin_key=KEY, prefix_v4=prefix),
    )


@pytest.mark.parametrize(
    ("prefix", "why"), [("10.0.0.0/16", "not inside"), ("100.80.0.1/16", "no prefix"), ("x", "no prefix"), ("fd7a::/64", "not inside")]
)
def test_a_prefix_that_clients_do_not_accept_is_refused(row, prefix, why):
    refused(row, inspection.UnusablePrefix, why, External(admin_key=KEY, prefix_v4=prefix))


def test_a_prefix_that_is_not_the_servers_is_refused(row, server):
    server.nodes = [a_node("100.64.0.9")]
    refused(row, inspection.UnusablePrefix, r"100\.64\.0\.9, outside of")


def test_a_policy_in_a_file_is_refused_with_and_without_one(row, server):
    server.file_mode = True
    refused(row, inspection.PolicyNotInDatabase, "policy.mode: database")
    server.policy = "{}"
    refused(row, inspection.PolicyNotInDatabase, "policy.mode: database", replace_policy=True)


def test_a_policy_of_somebody_else_is_refused_unless_given_up(row, server):
    server.policy = '{"acls": []}'
    refused(row, inspection.ForeignPolicy, "--replace-policy")
    assert server.puts == []
    assert go(row, replace_policy=True).policy == "replaced"
    assert server.policy == policy.base()


def test_a_base_policy_that_the_server_does_not_compile_is_refused_and_not_stored(row, server):
    server.rejects_policies = "user ambiguous"
    refused(row, inspection.PolicyRejected, "user ambiguous")
    assert server.puts == []


@pytest.mark.parametrize("metrics", ["", "<html>", "process_cpu_seconds_total 1\n"])
def test_unreadable_metrics_are_refused_before_the_policy_is_touched(row, server, metrics):
    server.metrics = metrics
    refused(row, inspection.MetricsUnreadable, "metrics_listen_addr")
    assert server.puts == []


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(row, url):
    refused(row, registration.BadAddress, "is no address", External(admin_key=KEY, admin_url=url))


def test_the_same_server_under_two_names_is_refused(row, server, fleet_clusters):
    other = fleet_clusters(admin_url=server.url + "/")
    refused(row, registration.BadAddress, f"is the cluster {other.cluster_id} already")


def test_an_unknown_cluster_and_a_half_told_one_are_refused_with_what_to_give(server):
    with pytest.raises(registration.UnknownCluster, match="add-cluster nobody"):
        register("nobody", external=None, actor="tests", now=NOW)
    with pytest.raises(
        registration.UnknownCluster, match="--region, --client-url, --metrics-url, --prefix-v4, --prefix-v6, --admin-key-file"
    ):
        register("nobody", external=External(admin_url=server.url), actor="tests", now=NOW)


def test_a_fleets_cluster_is_not_registered_as_an_external_one(fleet_cluster):
    with pytest.raises(registration.UnknownCluster, match="without --external"):
        register(fleet_cluster.cluster_id, external=External(region="eu"), actor="tests", now=NOW)


# ---- clusters of a fleet -----------------------------------------------------------------------------------------------
@pytest.fixture
def fleet_row(fleet_clusters: Callable[..., FleetCluster], server: FakeHeadscale) -> Cluster:
    """A cluster of the default fleet as add-cluster leaves it, its server a fake with the fleet's Noise key."""
    server.noise_key = noise.public_of(fleets.noise_key_of(Fleet.objects.get(pk="default")))
    made = fleet_clusters(state="offline", registered_at=None, version="", admin_url=server.url, metrics_url=f"{server.url}/metrics")
    return made.row


def test_acs_gives_itself_the_key_to_a_server_of_its_fleet(fleet_row, server):
    with pytest.raises(inspection.AdminKeyRefused):  # the fake does not read the database
        register(fleet_row.pk, external=None, actor="tests", now=NOW)
    fleet_row.refresh_from_db()
    with clusters.admin_of(fleet_row) as admin:
        server.key = admin._client.headers["Authorization"].removeprefix("Bearer ")
    done = register(fleet_row.pk, external=None, actor="tests", now=NOW)
    assert done.cluster.state == "active"
    sealed = fleet_row.admin_key_sealed
    with pytest.raises(inspection.AdminKeyRefused):
        register(fleet_row.pk, external=None, actor="tests", now=NOW, new_admin_key=True)
    fleet_row.refresh_from_db()
    assert fleet_row.admin_key_sealed != sealed


def test_a_server_with_another_noise_key_than_its_fleets_is_refused(fleet_row, server):
    server.noise_key = NOISE
    refused_in_fleet(fleet_row, inspection.OtherNoiseKey, "not its fleet's")


def test_a_server_of_another_version_than_its_fleets_is_refused(fleet_row, server):
    server.version = "v0.30.0"
    refused_in_fleet(fleet_row, inspection.UnsupportedVersion, "fleet upgrade")


def refused_in_fleet(row: Cluster, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        register(row.pk, external=None, actor="tests", now=NOW)
    row.refresh_from_db()
    assert row.state == "offline"


# ---- states and the command --------------------------------------------------------------------------------------------
def test_states_change_once_and_leave_an_audit_event(row):
    go(row)
    row.refresh_from_db()
    for verb, state in (("cordon", "cordoned"), ("drain", "draining"), ("uncordon", "active"), ("offline", "offline")):
        call_command("cluster", verb, row.pk)
        row.refresh_from_db()
        assert row.state == state
        with pytest.raises(CommandError, match=f"is {state}"):
            call_command("cluster", verb, row.pk)
    verbs = list(AuditEvent.objects.across_tenants().filter(target=row.pk).order_by("id").values_list("verb", flat=True))
    assert verbs == ["cluster.register", "cluster.cordon", "cluster.drain", "cluster.uncordon", "cluster.offline"]
    with pytest.raises(WrongState, match="register` brings it back"):
        clusters.uncordon(row, actor="tests", now=NOW)
    go(row)
    row.refresh_from_db()
    assert row.state == "active"


def test_list_and_show_tell_about_clusters_and_never_the_key(row, capsys):
    go(row)
    call_command("cluster", "list")
    call_command("cluster", "show", row.pk)
    told = capsys.readouterr().out
    assert f"{row.pk}  active  eu  shared  external  0 tenants  0/500 devices promised" in told
    assert NOISE in told
    assert "hskey" not in told


def test_facts_of_external_clusters_are_not_told_of_a_fleets(fleet_cluster):
    with pytest.raises(CommandError, match="add --external"):
        call_command("cluster", "register", fleet_cluster.cluster_id, "--region", "us")


@pytest.mark.django_db(transaction=True)
def test_the_owner_registers_a_new_external_server_from_the_command_line(server, tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    addresses = ["--admin-url", server.url, "--client-url", server.url, "--metrics-url", f"{server.url}/metrics"]
    prefixes = ["--prefix-v4", "100.81.0.0/16", "--prefix-v6", "fd7a:115c:a1e0:81::/64"]
    words = ["cluster", "register", "outside", "--external", "--region", "us", "--capacity", "50", *addresses, *prefixes]
    server.health = "fail"
    failed = manage(*words, "--admin-key-file", str(tmp_path / "key"), check=False)
    assert failed.returncode != 0
    assert "does not reach its database" in failed.stderr
    assert not Cluster.objects.filter(pk="outside").exists()
    server.health = "pass"
    done = manage(*words, "--admin-key-file", str(tmp_path / "key"))
    assert "outside is active: headscale 0.29.2, policy stored" in done.stdout
    outside = Cluster.objects.get(pk="outside")
    assert (outside.region, outside.capacity, outside.fleet_id) == ("us", 50, None)


@pytest.mark.parametrize("content", ["", "two\nlines"])
def test_a_file_that_holds_no_key_is_refused(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises(CommandError, match="holds no admin key"):
        call_command("cluster", "register", "outside", "--external", "--admin-key-file", str(tmp_path / "key"))


# ---- real servers ------------------------------------------------------------------------------------------------------
def external_of(real: Server) -> External:
    return External(admin_url=real.url, client_url=real.url, metrics_url=real.metrics_url, admin_key=real.api_key)


V4, V6 = "100.82.0.0/16", "fd7a:115c:a1e0:82::/64"


@pytest.mark.headscale
def test_a_real_external_server_is_registered_and_runs_the_base_policy(row, tmp_path):
    with run_headscale(tmp_path, prefix_v4=V4, prefix_v6=V6) as real:
        done = register(row.pk, external=external_of(real), actor="tests", now=NOW)
        assert (done.policy, done.cluster.state) == ("stored", "active")
        with clusters.admin_of(done.cluster) as admin:
            assert policy.is_ours(admin.policy().document)
            admin.put_policy('{"acls": []}')
        with pytest.raises(inspection.ForeignPolicy):
            register(row.pk, external=None, actor="tests", now=NOW)
        assert register(row.pk, external=None, actor="tests", now=NOW, replace_policy=True).policy == "replaced"


@pytest.mark.headscale
def test_a_real_server_with_its_policy_in_a_file_is_refused(row, tmp_path):
    document = tmp_path / "policy.json"
    for settings in ({"mode": "file"}, {"mode": "file", "path": str(document)}):
        document.write_text('{"acls": []}')
        folder = tmp_path / str(len(settings))
        with run_headscale(folder, prefix_v4=V4, prefix_v6=V6, more={"policy": settings}) as real:
            refused(row, inspection.PolicyNotInDatabase, "policy.mode: database", external_of(real), replace_policy=True)


@pytest.mark.headscale
@pytest.mark.django_db(transaction=True)
def test_a_real_server_on_the_fleet_database_is_registered_with_a_key_that_acs_made(fleet_clusters, tmp_path):
    made = fleet_clusters(state="offline", registered_at=None, version="")
    fleet = Fleet.objects.get(pk="default")
    key, v4, v6 = fleets.noise_key_of(fleet), made.prefix_v4, made.prefix_v6
    with run_headscale(tmp_path, database_url=made.url, noise_key=key, prefix_v4=v4, prefix_v6=v6) as real:
        Cluster.objects.filter(pk=made.cluster_id).update(admin_url=real.url, client_url=real.url, metrics_url=real.metrics_url)
        done = manage("cluster", "register", made.cluster_id, "--cordoned")
        assert f"{made.cluster_id} is cordoned: headscale 0.29.2, policy stored" in done.stdout
        assert "policy kept" in manage("cluster", "register", made.cluster_id, "--new-admin-key").stdout
        row = made.row
        assert (row.state, row.noise_public_key) == ("cordoned", noise.public_of(fleets.noise_key_of(fleet)))
        with clusters.admin_of(row) as admin:
            assert json.loads(admin.policy().document.partition("\n")[2])["acls"] == [policy.SELF_RULE, policy.LITERAL_RULE]


def a_node(address: str) -> dict[str, Any]:
    return {
        "id": "1",
        "machineKey": "mkey:1",
        "nodeKey": "nodekey:1",
        "ipAddresses": [address],
        "name": "n",
        "givenName": "n",
        "user": {"id": "1", "name": "acme"},
        "online": False,
        "createdAt": "2026-11-01T10:00:00Z",
        "registerMethod": "REGISTER_METHOD_AUTH_KEY",
    }
