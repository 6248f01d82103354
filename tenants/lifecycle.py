"""A tenant's life: created, suspended and resumed, closed and (until its devices are deleted) reopened, moved to another plan or jurisdiction.

Suspending stops new keys at once and, after a grace period, expires the devices; closing deletes them after a retention period.
Both are only marked here; acs/tasks.py carries out what has fallen due, so that either can be undone until then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from tenants import accounts, audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Plan, Quota, Tenant

GRACE = timedelta(days=7)
RETENTION = timedelta(days=30)


@dataclass(frozen=True)
class Contract:
    """What else ends with a tenant, and begins again with it, in the same transaction. `hold` locks it before the tenant's row is locked."""

    hold: Callable[[Tenant], None]
    close: Callable[[Tenant, datetime, str], None]
    reopen: Callable[[Tenant, datetime, str], None]


CONTRACTS: list[Contract] = []  # acs wires billing's subscriptions in
AGREEMENTS: list[Callable[[Tenant, Plan, datetime], None]] = []  # what may refuse another plan: acs wires billing's subscriptions in


@transaction.atomic
def create(account: str, *, plan: Plan, now: datetime, actor: str, title: str = "", residency: str = "") -> Tenant:
    """A new tenant with its quota. It gets a cluster with its first device. Raises: InvalidAccount, MalformedRequest (the account is taken)."""
    accounts.check(account)
    _check_residency(residency)
    if Tenant.objects.filter(account=account).exists():
        raise MalformedRequest({"account": _("taken")})
    tenant = Tenant.objects.create(account=account, title=title, plan=plan, residency=residency)
    Quota.objects.create(tenant=tenant, limit=plan.max_devices)
    audit.record("tenant.create", actor=actor, tenant=tenant, target=account, now=now, plan=plan.name, residency=residency)
    return tenant


@transaction.atomic
def suspend(tenant: Tenant, *, now: datetime, actor: str, reason: str = "", grace: timedelta = GRACE) -> Tenant:
    """No new keys from now on; devices expire when `grace` is over. Raises: WrongState unless active."""
    locked = _lock(tenant, Tenant.State.ACTIVE)
    return _change(
        locked, "tenant.suspend", actor, now, reason, state=Tenant.State.SUSPENDED, suspended_at=now, devices_expire_at=now + grace
    )


@transaction.atomic
def restrict(tenant: Tenant, *, now: datetime, actor: str, reason: str = "") -> Tenant:
    """No new keys from now on; nothing happens to its devices. Raises: WrongState when closed, or restricted already."""
    locked = _lock(tenant, Tenant.State.ACTIVE, Tenant.State.SUSPENDED)
    if locked.restricted_at is not None:
        raise WrongState(_("the tenant gets no new keys already"))
    return _change(locked, "tenant.restrict", actor, now, reason, restricted_at=now)


@transaction.atomic
def lift(tenant: Tenant, *, now: datetime, actor: str, reason: str = "") -> Tenant:
    """New keys again. Raises: WrongState unless restricted."""
    locked = _lock(tenant, *Tenant.State)
    if locked.restricted_at is None:
        raise WrongState(_("the tenant is not restricted"))
    return _change(locked, "tenant.lift", actor, now, reason, restricted_at=None)


@transaction.atomic
def resume(tenant: Tenant, *, now: datetime, actor: str, reason: str = "") -> Tenant:
    """New keys again. Devices that expired meanwhile sign in anew. Raises: WrongState unless suspended."""
    locked = _lock(tenant, Tenant.State.SUSPENDED)
    return _change(locked, "tenant.resume", actor, now, reason, state=Tenant.State.ACTIVE, suspended_at=None, devices_expire_at=None)


@transaction.atomic
def close(tenant: Tenant, *, now: datetime, actor: str, reason: str = "", retention: timedelta = RETENTION) -> Tenant:
    """No keys, no API; devices expire at once and are deleted when `retention` is over; its contracts end. Raises: WrongState when closed already."""
    for contract in CONTRACTS:
        contract.hold(tenant)
    locked = _lock(tenant, Tenant.State.ACTIVE, Tenant.State.SUSPENDED)
    closed = _change(
        locked,
        "tenant.close",
        actor,
        now,
        reason,
        state=Tenant.State.CLOSED,
        closed_at=now,
        devices_expire_at=now,
        devices_delete_at=now + retention,
    )
    for contract in CONTRACTS:
        contract.close(closed, now, actor)
    return closed


@transaction.atomic
def reopen(tenant: Tenant, *, now: datetime, actor: str, reason: str = "") -> Tenant:
    """Undo a close before its retention ends; its contracts go on. Raises: WrongState when not closed, or when its devices are deleted already."""
    for contract in CONTRACTS:
        contract.hold(tenant)
    locked = _lock(tenant, Tenant.State.CLOSED)
    if locked.devices_delete_at is None or locked.devices_delete_at <= now:
        raise WrongState(_("the retention period is over: the tenant's devices are deleted"))
    reopened = _change(
        locked,
        "tenant.reopen",
        actor,
        now,
        reason,
        state=Tenant.State.ACTIVE,
        closed_at=None,
        suspended_at=None,
        devices_expire_at=None,
        devices_delete_at=None,
    )
    for contract in CONTRACTS:
        contract.reopen(reopened, now, actor)
    return Tenant.objects.select_related("plan").get(pk=locked.pk)


@transaction.atomic
def change_plan(tenant: Tenant, plan: Plan, *, now: datetime, actor: str) -> Tenant:
    """Limits follow at once. A tenant over its new limit keeps its devices and gets no new keys. Raises: WrongState, also for another plan than the
    one of its subscription."""
    locked = _lock(tenant, Tenant.State.ACTIVE, Tenant.State.SUSPENDED)
    for check in AGREEMENTS:
        check(locked, plan, now)
    before = locked.plan_id
    Quota.objects.filter(tenant=locked).update(limit=plan.max_devices)
    Tenant.objects.filter(pk=locked.pk).update(plan=plan)
    audit.record("tenant.change_plan", actor=actor, tenant=locked, target=locked.account, now=now, before=before, after=plan.name)
    return Tenant.objects.select_related("plan").get(pk=locked.pk)


@transaction.atomic
def retitle(tenant: Tenant, title: str, *, now: datetime, actor: str) -> None:
    """What people read beside the account."""
    Tenant.objects.filter(pk=tenant.pk).update(title=title)
    audit.record("tenant.retitle", actor=actor, tenant=tenant, target=tenant.account, now=now, title=title)


@transaction.atomic
def change_residency(tenant: Tenant, residency: str, *, now: datetime, actor: str) -> Tenant:
    """Where its data must stay from now on; empty: anywhere. placement/residency.py asks its cluster first. Raises: MalformedRequest, WrongState."""
    _check_residency(residency)
    locked = _lock(tenant, Tenant.State.ACTIVE, Tenant.State.SUSPENDED)
    before = locked.residency
    Tenant.objects.filter(pk=locked.pk).update(residency=residency)
    audit.record("tenant.change_residency", actor=actor, tenant=locked, target=locked.account, now=now, before=before, after=residency)
    return Tenant.objects.select_related("plan").get(pk=locked.pk)


def _check_residency(residency: str) -> None:
    try:
        Tenant._meta.get_field("residency").run_validators(residency)
    except ValidationError as error:
        raise MalformedRequest({"residency": " ".join(error.messages)}) from None


def _lock(tenant: Tenant, *states: Tenant.State) -> Tenant:
    """The tenant's row, ours until commit; admission holds it FOR SHARE, so no key is promised behind this."""
    locked = Tenant.objects.select_for_update(of=("self",)).get(pk=tenant.pk)
    if locked.state not in states:
        raise WrongState(_("the tenant is %(state)s") % {"state": locked.get_state_display()})
    return locked


def _change(tenant: Tenant, verb: str, actor: str, now: datetime, reason: str, **fields: object) -> Tenant:
    Tenant.objects.filter(pk=tenant.pk).update(**fields)
    audit.record(verb, actor=actor, tenant=tenant, target=tenant.account, now=now, reason=reason)
    return Tenant.objects.select_related("plan").get(pk=tenant.pk)
