"""The verbs that the service calls: from bindings in the database to routes in a real HAProxy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from placement.gateway import routes
from placement.gateway.haproxy import Gateway, GatewayError, GatewayUnreachable
from placement.gateway.plan import Target
from placement.models import Binding, Cluster
from tenants.models import AuditEvent, Plan, Tenant
from tests.gateway.conftest import DOMAIN, Backend, Haproxy, is_open

pytestmark = [pytest.mark.haproxy, pytest.mark.django_db]
ACME, BOLT = f"acme.{DOMAIN}", f"bolt.{DOMAIN}"


@pytest.fixture
def bind(fleet_clusters: Callable, backends: tuple[Backend, Backend], settings, haproxy: Haproxy) -> Callable[[str, int], Tenant]:
    """Bind a tenant to the cluster behind the first or the second backend."""
    settings.TENANT_DOMAIN, settings.GATEWAY_SOCKETS = DOMAIN, [haproxy.socket]
    made = [fleet_clusters(admin_url=f"http://{backend.target.address}:{backend.target.port}") for backend in backends]
    plan = Plan.objects.create(name="p", title="P", max_devices=5)

    def bound(account: str, which: int) -> Tenant:
        tenant = Tenant.objects.create(account=account, plan=plan)
        Binding.objects.create(tenant=tenant, cluster_id=made[which].cluster_id, headscale_user_id=1, expected_load=1, reason="test")
        return tenant

    return bound


def served_by(haproxy: Haproxy, host: str) -> str:
    return haproxy.ask(host)[1][-1]


def test_a_new_binding_is_published_at_once_and_the_others_stay(bind, haproxy):
    routes.sync()
    routes.publish(bind("acme", 0))
    routes.publish(bind("bolt", 1))
    assert (served_by(haproxy, ACME), served_by(haproxy, BOLT)) == ("a", "b")
    assert routes.check() == {haproxy.socket: []}


def test_after_a_restart_sync_replays_every_binding(bind, haproxy):
    bind("acme", 0), bind("bolt", 1)
    routes.sync()
    haproxy.kill()
    haproxy.start()
    assert [change.verb for change in routes.sync()[haproxy.socket]] == ["add", "add", "name", "name", "ready"]
    assert (served_by(haproxy, ACME), served_by(haproxy, BOLT)) == ("a", "b")


def test_a_move_is_published_and_the_cut_brings_the_devices_over(bind, haproxy, backends):
    tenant = bind("acme", 0)
    routes.sync()
    session = haproxy.upgrade(ACME)
    target = Cluster.objects.get(admin_url__endswith=f":{backends[1].target.port}")
    Binding.objects.of(tenant).update(cluster=target)
    routes.publish(tenant)
    assert is_open(session)
    routes.cut("acme")
    assert not is_open(session)
    assert served_by(haproxy, ACME) == "b"
    session.close()


def test_a_withdrawn_name_is_unknown(bind, haproxy):
    tenant = bind("acme", 0)
    routes.sync()
    Binding.objects.of(tenant).delete()
    routes.withdraw("acme")
    assert haproxy.ask(ACME)[0] == 404
    assert routes.sync() == {haproxy.socket: []}


def test_strangers_go(bind, haproxy):
    bind("acme", 0)
    with Gateway(haproxy.socket) as gateway:
        gateway.add_server("ghost", Target("127.0.0.1", 9))
        gateway.add_host(f"ghost.{DOMAIN}", "ghost")
    routes.sync()
    assert haproxy.ask(f"ghost.{DOMAIN}")[0] == 404


def test_a_cluster_whose_name_does_not_resolve_keeps_its_route_and_hinders_nobody(bind, haproxy):
    acme = bind("acme", 0)
    routes.sync()
    Cluster.objects.filter(pk=acme.binding.cluster_id).update(admin_url="http://no-such-host.invalid:8080")
    bind("bolt", 1)
    routes.sync()
    assert (served_by(haproxy, ACME), served_by(haproxy, BOLT)) == ("a", "b")
    with pytest.raises(GatewayError, match="does not resolve"):
        routes.publish(acme)


def test_one_gateway_that_is_down_does_not_keep_the_other_from_being_told(bind, haproxy, settings, tmp_path):
    tenant = bind("acme", 0)
    settings.GATEWAY_SOCKETS = [str(tmp_path / "nobody"), haproxy.socket]
    for verb in (routes.sync, lambda: routes.publish(tenant), lambda: routes.cut("acme")):
        with pytest.raises(GatewayUnreachable):
            verb()
    assert served_by(haproxy, ACME) == "a"


def test_every_gateway_is_told(bind, haproxy, settings, tmp_path_factory):
    second = Haproxy(tmp_path_factory.mktemp("second")).start()
    try:
        settings.GATEWAY_SOCKETS = [haproxy.socket, second.socket]
        routes.sync()
        routes.publish(bind("acme", 0))
        assert served_by(haproxy, ACME) == served_by(second, ACME) == "a"
    finally:
        second.kill()


def test_without_gateways_the_verbs_do_nothing(settings, bind):
    tenant = bind("acme", 0)
    settings.GATEWAY_SOCKETS = []
    routes.publish(tenant)
    routes.cut("acme")
    assert routes.sync() == routes.check() == {}


def test_an_operators_cut_is_audited(bind, haproxy):
    tenant = bind("acme", 0)
    routes.sync()
    session = haproxy.upgrade(ACME)
    routes.disconnect(tenant, actor="tests", now=datetime.now(UTC))
    assert not is_open(session)
    session.close()
    assert AuditEvent.objects.of(tenant).get().verb == "gateway.disconnect"


def test_the_command_checks_syncs_and_renders(bind, haproxy, capsys, tmp_path: Path):
    bind("acme", 0)
    with pytest.raises(CommandError, match="gateway sync"):
        call_command("gateway", "check")
    call_command("gateway", "sync")
    call_command("gateway", "check")
    assert f"{haproxy.socket}: as the bindings say" in capsys.readouterr().out
    call_command("gateway", "config", "--certificate", "/etc/haproxy/wildcard.pem", "--acs-url", "https://acs.example")
    text = capsys.readouterr().out
    assert f"*.{DOMAIN}" in text
    assert "redirect location https://acs.example%[path]?host=" in text
    with pytest.raises(CommandError, match="No tenant"):
        call_command("gateway", "cut", "nobody")
