"""The audit: an event per act, in chains that do not fork and show every change; append-only for every role of the service."""

from __future__ import annotations

import contextlib
import threading
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from tenants import audit, lifecycle
from tenants.models import AuditChain, AuditEvent, AuditSeal, Tenant
from tests import factories
from tests.conftest import superuser


def act(tenant: Tenant | None, times: int = 1) -> None:
    for number in range(times):
        with transaction.atomic():
            audit.record("test.act", actor="system:tests", tenant=tenant, now=timezone.now(), target=f"n{number}", word="grüß")


def seal_everything() -> None:
    while audit.seal_all():
        pass


def verdict_of(chain: str) -> audit.Verdict:
    return next(verdict for verdict in audit.verify() if verdict.chain == chain)


@pytest.mark.django_db
def test_an_event_outside_of_its_acts_transaction_is_refused(transactional_db):
    with pytest.raises(RuntimeError):
        audit.record("test.act", actor="system:tests", tenant=None, now=timezone.now())


@pytest.mark.django_db
def test_an_act_that_is_rolled_back_leaves_no_event():
    tenant = factories.tenant()
    before = AuditEvent.objects.of(tenant).count()
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        lifecycle.suspend(tenant, now=timezone.now(), actor="system:tests")
        1 / 0  # noqa: B018
    assert AuditEvent.objects.of(tenant).count() == before


@pytest.mark.django_db
def test_sealed_chains_are_whole_and_tenants_do_not_share_one():
    one, two = factories.tenant(), factories.tenant()
    act(one, 5), act(two, 3), act(None, 2)
    seal_everything()
    assert (verdict_of(one.account).events, verdict_of(two.account).events) == (6, 4)  # with tenant.create
    assert all(verdict.whole and verdict.unsealed == 0 for verdict in audit.verify())
    assert audit.seal_all() == 0


@pytest.mark.django_db
def test_an_unsealed_event_shows_as_such():
    tenant = factories.tenant()
    seal_everything()
    act(tenant)
    assert (verdict_of(tenant.account).whole, verdict_of(tenant.account).unsealed) == (True, 1)


TAMPERINGS = {
    "a changed word": "update tenants_auditevent set verb = 'harmless' where id = %(id)s",
    "a changed detail": """update tenants_auditevent set detail = '{"word": "x"}' where id = %(id)s""",
    "a changed time": "update tenants_auditevent set at = at + interval '1 microsecond' where id = %(id)s",
    "a changed actor": "update tenants_auditevent set actor = 'system:other' where id = %(id)s",
    "a removed event": "delete from tenants_auditseal where event_id = %(id)s; delete from tenants_auditevent where id = %(id)s",
    "a lost last seal": "delete from tenants_auditseal where event_id = (select max(event_id) from tenants_auditseal where chain_id = %(chain)s)",
    "another hash": "update tenants_auditseal set hash = sha256('x') where event_id = %(id)s",
    "an event moved to the operators": "update tenants_auditevent set tenant_id = null where id = %(id)s",
    "a shortened chain": "update tenants_auditchain set length = length - 1 where id = %(chain)s",
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
@pytest.mark.django_db(transaction=True)
def test_verify_finds(tampering):
    tenant = factories.tenant()
    act(tenant, 4)
    seal_everything()
    assert verdict_of(tenant.account).whole
    victim = AuditEvent.objects.of(tenant).order_by("id")[2]
    chain = AuditChain.objects.get(tenant=tenant)
    with superuser() as admin:
        admin.execute("set session_replication_role = replica")
        for statement in TAMPERINGS[tampering].split("; "):
            admin.execute(statement, {"id": victim.pk, "chain": chain.pk} if "%(" in statement else None)
    assert not verdict_of(tenant.account).whole
    with pytest.raises(CommandError, match="broken"):
        call_command("audit", "verify", stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_sealing_by_many_at_once_makes_no_fork():
    tenant = factories.tenant()
    barrier, faults = threading.Barrier(6), []

    def work(number: int) -> None:
        try:
            barrier.wait(10)
            for _ in range(8):
                act(tenant if number % 2 else None)
                audit.seal_all(limit=3)
        except Exception as fault:  # noqa: BLE001 - shown by the test
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    seal_everything()
    assert all(verdict.whole and verdict.unsealed == 0 for verdict in audit.verify())
    assert AuditSeal.objects.count() == AuditEvent.objects.across_tenants().count() == 6 * 8 + 1
    assert AuditChain.objects.filter(tenant=None).count() == 1


@pytest.mark.parametrize("role", ["web", "worker", "mover", "owner"])
@pytest.mark.parametrize(
    "statement",
    [
        "update tenants_auditevent set actor = 'x'",
        "delete from tenants_auditevent",
        "truncate tenants_auditevent cascade",
        "update tenants_auditseal set position = position + 1000",
        "delete from tenants_auditseal",
        "truncate tenants_auditseal cascade",
    ],
)
@pytest.mark.django_db(transaction=True)
def test_no_role_of_the_service_changes_the_audit(database_urls, role, statement):
    act(factories.tenant())
    seal_everything()
    with psycopg.connect(database_urls[role]) as link, pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)):
        link.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_the_door_may_append(database_urls):
    act(factories.tenant())
    with psycopg.connect(database_urls["web"]) as link:
        link.execute(
            "insert into tenants_auditevent (at, actor, verb, target, detail, request_id) values (now(), 'a', 'test.act', '', '{}', '')"
        )
