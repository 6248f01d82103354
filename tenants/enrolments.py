"""Single devices by their registration id: approved or refused, disabled and enabled again, with settings of their own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, F, Q
from django.utils.translation import gettext as _

from tenants import audit, credentials, tags
from tenants.errors import ApprovalQueueFull, BadCredential, MalformedRequest, WrongState
from tenants.models import Enrolment, EnrolmentKey, Tenant
from tenants.signing import REGISTRATION_ID

State = Enrolment.State
OWN = ("ephemeral", "key_lifetime", "re_enrolment", "tags")  # settings that win over the credential's


MOST_WAITING = 2000  # of one tenant: admins decide about single devices, and look through no longer list
MOST_OF_ONE = 1000  # of these with one credential: one that went astray leaves room for the others' devices
WAITING_KEPT = timedelta(days=14)  # without anybody asking
QUEUE_FULL = timedelta(minutes=10)  # when to ask again
HOLD_QUEUE = "select pg_advisory_xact_lock(hashtextextended('devices that wait for approval of ' || %s, 0))"
FORGET_WAITING = """
delete from tenants_enrolment e where e.state = 'waiting' and e.id in (
    select w.id from tenants_enrolment w left join tenants_enrolmentkey k on k.id = w.key_id
    where w.state = 'waiting' and (w.asked_at < %(before)s or k.revoked_at is not null) order by w.asked_at limit %(at_once)s
)
"""


def apply_for(tenant_id: UUID, registration_id: str, *, key_id: UUID, hostname: str, os: str, now: datetime) -> None:
    """A device asks and nobody has accepted it yet: it waits, or goes on waiting. Asking again is counted and changes no decision.

    Must not run inside a transaction: others wait for their place meanwhile. Raises: ApprovalQueueFull, BadCredential (used up: being accepted would
    give the device nothing).
    """
    if EnrolmentKey.objects.of(tenant_id).filter(pk=key_id, uses__gte=F("max_uses")).exists():
        raise BadCredential
    facts = {"key_id": key_id, "hostname": hostname, "os": os, "asked_at": now}
    known = Enrolment.objects.of(tenant_id).filter(registration_id=registration_id)
    if known.filter(state=State.WAITING).update(asked=F("asked") + 1, **facts):
        return
    _refuse_full(tenant_id, key_id)  # a flood does not line up for the lock
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(HOLD_QUEUE, [str(tenant_id)])
        _refuse_full(tenant_id, key_id)
        fresh = Enrolment(tenant_id=tenant_id, registration_id=registration_id, state=State.WAITING, created_at=now, asked=1, **facts)
        Enrolment.objects.across_tenants().bulk_create([fresh], ignore_conflicts=True)


def _refuse_full(tenant_id: UUID, key_id: UUID) -> None:
    """Raises: ApprovalQueueFull."""
    waiting = Enrolment.objects.of(tenant_id).filter(state=State.WAITING).order_by()
    held = waiting.aggregate(all=Count("pk"), same=Count("pk", filter=Q(key_id=key_id)))
    if held["all"] >= MOST_WAITING or held["same"] >= MOST_OF_ONE:
        raise ApprovalQueueFull(_("too many devices wait for a decision of the tenant's administrators"), QUEUE_FULL)


def forget_waiting(*, now: datetime, at_once: int = 10_000) -> int:
    """Drop those who wait and did not ask again for long, or asked with a credential that is revoked; decisions stay. Returns how many."""
    dropped = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(FORGET_WAITING, {"before": now - WAITING_KEPT, "at_once": at_once})
            dropped += cursor.rowcount
            if cursor.rowcount < at_once:
                return dropped


def accept(enrolment: Enrolment, *, now: datetime, actor: str) -> Enrolment:
    """The device gets its key when it asks next. Raises: WrongState unless it waits or is disabled."""
    return _decide(enrolment, State.ENABLED, "enrolment.accept", of=(State.WAITING, State.DISABLED), reason="", now=now, actor=actor)


def disable(enrolment: Enrolment, *, reason: str, now: datetime, actor: str) -> Enrolment:
    """The device gets no keys; a waiting one is refused by it. A key that it has not used is retired by the sweeper; its network access, if it has
    one, is not touched. Raises: WrongState when disabled."""
    return _decide(enrolment, State.DISABLED, "enrolment.disable", of=(State.WAITING, State.ENABLED), reason=reason, now=now, actor=actor)


@transaction.atomic
def put(tenant: Tenant, registration_id: str, *, state: str, now: datetime, actor: str, reason: str = "", **own: Any) -> Enrolment:
    """A device's enrolment as an admin wants it, whether it has asked already or not. Raises: MalformedRequest."""
    wrong = {name: _("unknown field") for name in own if name not in OWN}
    if not REGISTRATION_ID.match(registration_id):
        wrong["registration_id"] = _("1 to 128 letters, digits and . _ : -, the first one a letter or digit")
    if state not in (State.ENABLED, State.DISABLED):
        wrong["state"] = _("enabled or disabled")
    lifetime = own.get("key_lifetime")
    if lifetime is not None and not credentials.SHORTEST_LIFETIME <= lifetime <= credentials.LONGEST_LIFETIME:
        wrong["key_lifetime"] = _("between 2 minutes and 24 hours")
    if own.get("re_enrolment") and own["re_enrolment"] not in EnrolmentKey.ReEnrolment.values:
        wrong["re_enrolment"] = _("one of %(values)s") % {"values": ", ".join(EnrolmentKey.ReEnrolment.values)}
    if own.get("tags") is not None:
        own = own | {"tags": tags.kept(own["tags"])}
        if reason := tags.wrong(tenant, own["tags"]):
            wrong["tags"] = reason
    if wrong:
        raise MalformedRequest(wrong)
    fields = {"state": state, "reason": reason[:300], "decided_at": now, "decided_by": actor, **own}
    enrolment, _made = Enrolment.objects.across_tenants().update_or_create(
        tenant=tenant, registration_id=registration_id.lower(), defaults=fields, create_defaults={**fields, "created_at": now}
    )
    audit.record(
        "enrolment.put", actor=actor, tenant=tenant, target=f"enrolment:{enrolment.registration_id}", now=now, state=state, reason=reason
    )
    return enrolment


@transaction.atomic
def forget(enrolment: Enrolment, *, now: datetime, actor: str) -> None:
    """Its credential's settings count again. A device under a credential that needs approval waits anew."""
    Enrolment.objects.of(enrolment.tenant_id).filter(pk=enrolment.pk).delete()
    audit.record("enrolment.forget", actor=actor, tenant=enrolment.tenant, target=f"enrolment:{enrolment.registration_id}", now=now)


@transaction.atomic
def _decide(enrolment: Enrolment, state: State, verb: str, *, of: tuple[State, ...], reason: str, now: datetime, actor: str) -> Enrolment:
    held = Enrolment.objects.of(enrolment.tenant_id).filter(pk=enrolment.pk)
    if held.filter(state__in=of).update(state=state, reason=reason[:300], decided_at=now, decided_by=actor) != 1:
        raise WrongState(_("the enrolment is %(state)s") % {"state": State(held.get().state).label})
    audit.record(verb, actor=actor, tenant=enrolment.tenant, target=f"enrolment:{enrolment.registration_id}", now=now, reason=reason)
    return held.select_related("tenant").get()
