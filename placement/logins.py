"""Device logins: claimed by whoever confirms first, then what became of them.

A claim takes a slot. The server is asked outside of any transaction (acs/device_login.py); what it did not answer is settled by a complete poll that
started so much later that the call cannot be under way any more: either a device sits on the login's slot by then, or nothing was registered.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from datetime import datetime
from uuid import UUID

import structlog
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from placement import devices, slots
from placement.devices import Sighting
from placement.errors import LoginTaken, NotPlacedYet
from placement.models import Device, DeviceLogin
from placement.policies import noticing
from placement.settling import PATIENCE
from tenants import audit, members, people
from tenants.errors import QuotaExceeded
from tenants.models import Tenant

log = structlog.get_logger(__name__)
State = DeviceLogin.State
AUTH_ID = re.compile(r"hskey-authreq-[A-Za-z0-9_-]{24}\Z")
SYSTEM = "system:poll"


def digest_of(auth_id: str) -> bytes:
    return hashlib.sha256(auth_id.encode()).digest()


def find(auth_id: str) -> DeviceLogin | None:
    """Who owns the id: the login that claimed it, unless that registered nothing."""
    held = DeviceLogin.objects.across_tenants().filter(auth_digest=digest_of(auth_id)).exclude(state=State.REFUSED)
    return held.select_related("tenant", "cluster", "device").first()


def claim(tenant: Tenant, person: User, auth_id: str, *, now: datetime) -> tuple[DeviceLogin, bool]:
    """The login that owns the id, and whether it is a new one: only then the server is to be asked.

    Raises: NotEntitled, TenantSuspended, NotPlacedYet, QuotaExceeded, LoginTaken.
    """
    try:
        with transaction.atomic():
            members.hold_entitled(tenant, person)
            cluster_id = _home(tenant)
            if held := find(auth_id):
                return _own(held, tenant, person), False
            slot = slots.take(tenant.pk, now=now)
            login = DeviceLogin.objects.create(
                auth_digest=digest_of(auth_id),
                tenant=tenant,
                cluster_id=cluster_id,
                user=person,
                slot=slot,
                state=State.CLAIMED,
                claimed_at=now,
            )
            _record("device_login.confirm", login, actor=people.actor_of(person), now=now)
            return login, True
    except (IntegrityError, QuotaExceeded):
        held = find(auth_id)  # confirmed twice at once: the first has taken the id, and perhaps the last slot
        if held is None:
            raise
        return _own(held, tenant, person), False


def _home(tenant: Tenant) -> str:
    """The tenant's cluster; a move waits until commit. Raises: NotPlacedYet."""
    with connection.cursor() as cursor:
        cursor.execute("select cluster_id from placement_binding where tenant_id = %s for share", [tenant.pk])
        row = cursor.fetchone()
    if row is None:
        raise NotPlacedYet(tenant.account)
    return str(row[0])


def _own(held: DeviceLogin, tenant: Tenant, person: User) -> DeviceLogin:
    if (held.tenant_id, held.user_id) != (tenant.pk, person.pk):
        raise LoginTaken
    return held


def is_anothers(login: DeviceLogin, node_id: int) -> bool:
    """Whether the node is known as another tenant's device: a tagged one is handed over by its server to whoever approves it."""
    return _of_others(login, node_id).exists()


def tags_of_another(login: DeviceLogin, node_id: int) -> list[str]:
    """The tags that another tenant's device had when it was last seen."""
    known = _of_others(login, node_id).first()
    return known.tags if known else []


def _of_others(login: DeviceLogin, node_id: int) -> QuerySet[Device]:
    there = Device.objects.across_tenants().filter(cluster_id=login.cluster_id, node_id=node_id, gone_at=None)
    return there.exclude(tenant_id=login.tenant_id)


@transaction.atomic
def mark_registered(login: DeviceLogin, seen: Sighting, *, seen_at: datetime, now: datetime) -> None:
    """The server has let the device in as the node `seen`: the person is remembered, and one slot is the device's.

    A machine that was there before keeps its row on the server, and the slot that its key or registration holds; the login's is free again then.
    """
    devices.hold(login.cluster_id)
    if _become(login, State.REGISTERED, node_id=seen.node_id, settled_at=now, reason="") != 1:
        return  # a poll has settled it meanwhile
    devices.observe(login.cluster_id, [seen], seen_at=seen_at, now=now, complete=False)
    device = Device.objects.of(login.tenant_id).select_related("slot").filter(cluster_id=login.cluster_id, node_id=seen.node_id).first()
    if device is not None and device.gone_at is None:
        _seat(device, login)
        noticing.noticed(login.cluster_id, [device], now=now)
    slots.release_empty(login.tenant_id, seen_from=now, now=now)
    _record("device_login.register", login, actor=_actor(login), now=now, node_id=seen.node_id, name=seen.name)


def _seat(device: Device, login: DeviceLogin) -> None:
    changed: dict[str, object] = {"brought_by": login.user_id}
    nameless = device.slot is None or (device.grant_id is None and device.slot.registration_id is None)
    if nameless and device.slot_id != login.slot_id and _is_free(login.slot_id, device):
        changed["slot"] = login.slot_id
    if device.unexpected == "no-grant":
        changed["unexpected"] = ""
    Device.objects.of(device.tenant_id).filter(pk=device.pk).update(**changed)
    DeviceLogin.objects.of(login.tenant_id).filter(pk=login.pk).update(device=device)


def _is_free(slot_id: UUID, device: Device) -> bool:
    return not Device.objects.of(device.tenant_id).filter(slot_id=slot_id, gone_at=None).exclude(pk=device.pk).exists()


def mark_unknown(login: DeviceLogin, reason: str) -> None:
    """The server fell silent: it may have been done."""
    DeviceLogin.objects.of(login.tenant_id).filter(pk=login.pk, state=State.CLAIMED).update(state=State.UNKNOWN, reason=reason[:300])


@transaction.atomic
def refuse(login: DeviceLogin, reason: str, *, now: datetime) -> None:
    """Nothing was registered: the slot is free at once, and the id may be claimed again."""
    if _become(login, State.REFUSED, settled_at=now, reason=reason[:300]) == 1:
        slots.release_empty(login.tenant_id, seen_from=now, now=now)
        _record("device_login.refuse", login, actor=_actor(login), now=now, reason=reason[:300])


def settle(cluster_id: str, *, seen_from: datetime, now: datetime) -> None:
    """Settle the logins whose server fell silent, or whose process died while asking it, by a complete look that began at `seen_from`.

    Must run after that look's nodes were observed, in its transaction. Slots are released by slots.release_of_cluster.
    """
    late = DeviceLogin.objects.across_tenants().filter(
        cluster_id=cluster_id, state__in=DeviceLogin.OPEN, claimed_at__lt=seen_from - PATIENCE
    )
    by_tenant: dict[UUID, list[DeviceLogin]] = defaultdict(list)
    for login in late.select_related("tenant"):
        by_tenant[login.tenant_id].append(login)
    for logins in by_tenant.values():
        is_sure = len({login.user_id for login in logins}) == 1  # of several silent logins at once nobody can tell which device is whose
        for login in logins:
            _settle(login, is_sure=is_sure, now=now)


def _settle(login: DeviceLogin, *, is_sure: bool, now: datetime) -> None:
    device = Device.objects.of(login.tenant_id).filter(cluster_id=login.cluster_id, slot_id=login.slot_id, gone_at=None).first()
    if device is None:
        if _become(login, State.REFUSED, settled_at=now, reason="no new device came of it") == 1:
            _record("device_login.refuse", login, actor=SYSTEM, now=now, reason="no new device came of it")
        return
    if _become(login, State.REGISTERED, node_id=device.node_id, device=device, settled_at=now) == 1:
        log.info("silent_login_found", cluster_id=login.cluster_id, login=str(login.pk), node_id=device.node_id)
        if is_sure:
            Device.objects.of(login.tenant_id).filter(pk=device.pk).update(brought_by=login.user_id)
            noticing.noticed(login.cluster_id, [device], now=now)
        _record("device_login.register", login, actor=SYSTEM, now=now, node_id=device.node_id, name=device.name)


def forget(*, before: datetime, at_once: int = 1000) -> int:
    """Drop the logins of which nothing had come before that moment, with their slots where nothing else ever was on them. Returns how many.

    Those that let a device in say who did, and stay.
    """
    dropped = 0
    over = DeviceLogin.objects.across_tenants().filter(state=State.REFUSED, settled_at__lt=before)
    while oldest := dict(over.order_by("settled_at").values_list("pk", "slot_id")[:at_once]):
        with transaction.atomic():
            dropped += over.filter(pk__in=oldest).delete()[0]
            slots.forget_unused(set(oldest.values()))
    return dropped


def _become(login: DeviceLogin, state: State, **fields: object) -> int:
    held: QuerySet[DeviceLogin] = DeviceLogin.objects.of(login.tenant_id).filter(pk=login.pk, state__in=DeviceLogin.OPEN)
    return held.update(state=state, **fields)


def _record(verb: str, login: DeviceLogin, *, actor: str, now: datetime, **detail: object) -> None:
    person = str(login.user_id or "")
    target = f"device-login:{login.pk}"
    audit.record(verb, actor=actor, tenant=login.tenant, target=target, now=now, cluster_id=login.cluster_id, person=person, **detail)


def _actor(login: DeviceLogin) -> str:
    return f"person:{login.user_id}" if login.user_id else SYSTEM
