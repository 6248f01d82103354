"""Who belongs to a tenant, in which role. A tenant that has owners keeps one, and none has more members than was agreed."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from tenants import audit
from tenants.errors import MalformedRequest, MembersExceeded, NotEntitled, PaymentOverdue, TenantSuspended, WrongState
from tenants.models import Membership, Quota, Tenant

Role = Membership.Role
ADD_DEVICES = (Role.OWNER, Role.ADMIN, Role.MEMBER)


def who_add_devices(person: User) -> QuerySet[Membership]:
    """The memberships by which a person may add devices, closed tenants left out."""
    held = Membership.objects.across_tenants().filter(user=person, role__in=ADD_DEVICES).exclude(tenant__state=Tenant.State.CLOSED)
    return held.select_related("tenant__quota").order_by("tenant__account")


HOLD = """
select t.state, m.role, t.restricted_at from tenants_tenant t join tenants_membership m on m.tenant_id = t.id and m.user_id = %s where t.id = %s for share of t, m
"""


def hold_entitled(tenant: Tenant, person: User) -> None:
    """The person may add devices to the tenant, and that stays so until commit: a suspension or a removal waits for it.

    Raises: NotEntitled, TenantSuspended, PaymentOverdue.
    """
    with connection.cursor() as cursor:
        cursor.execute(HOLD, [person.pk, tenant.pk])
        row = cursor.fetchone()
    if row is None or row[1] not in ADD_DEVICES or not person.is_active:
        raise NotEntitled
    if row[0] != Tenant.State.ACTIVE:
        raise TenantSuspended(_("the tenant is closed") if row[0] == Tenant.State.CLOSED else _("the tenant is suspended"))
    if row[2] is not None:
        raise PaymentOverdue(_("a payment of the tenant is overdue"))


@transaction.atomic
def add(tenant: Tenant, person: User, role: str, *, now: datetime, actor: str) -> Membership:
    """Raises: MalformedRequest (no such role, a member already), WrongState (the tenant is closed), MembersExceeded."""
    _check(role)
    if _lock(tenant).state == Tenant.State.CLOSED:
        raise WrongState(_("the tenant is closed"))
    membership, made = Membership.objects.of(tenant).get_or_create(tenant=tenant, user=person, defaults={"role": role})
    if not made:
        raise MalformedRequest({"email": _("a member already, as %(role)s") % {"role": membership.get_role_display()}})
    _check_room(tenant)
    audit.record("member.add", actor=actor, tenant=tenant, target=f"person:{person.pk}", now=now, role=role, email=person.email)
    return membership


@transaction.atomic
def change_role(membership: Membership, role: str, *, now: datetime, actor: str) -> Membership:
    """Raises: MalformedRequest (no such role), WrongState (it is the last owner's)."""
    _check(role)
    held = _held(membership)
    if held.role == Role.OWNER and role != Role.OWNER:
        _keep_an_owner(held)
    Membership.objects.of(held.tenant_id).filter(pk=held.pk).update(role=role)
    audit.record(
        "member.change_role", actor=actor, tenant=held.tenant, target=f"person:{held.user_id}", now=now, before=held.role, after=role
    )
    return Membership.objects.of(held.tenant_id).select_related("tenant", "user").get(pk=held.pk)


@transaction.atomic
def remove(membership: Membership, *, now: datetime, actor: str) -> None:
    """The person may do nothing in the tenant any more; devices that they brought stay. Raises: WrongState (it is the last owner)."""
    held = _held(membership)
    if held.role == Role.OWNER:
        _keep_an_owner(held)
    Membership.objects.of(held.tenant_id).filter(pk=held.pk).delete()
    audit.record("member.remove", actor=actor, tenant=held.tenant, target=f"person:{held.user_id}", now=now, role=held.role)


def _check(role: str) -> None:
    if role not in Role.values:
        raise MalformedRequest({"role": _("one of %(values)s") % {"values": ", ".join(Role.values)}})


def _lock(tenant: Tenant) -> Tenant:
    """Changes of one tenant's members wait for each other: two owners cannot remove one another at once."""
    return Tenant.objects.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)


def _check_room(tenant: Tenant) -> None:
    """Of those who were let in at once each has waited for the one before, by the tenant's lock. Raises: MembersExceeded."""
    most = Quota.objects.filter(tenant=tenant).values_list("max_members", flat=True).first()
    if most is not None and Membership.objects.of(tenant).count() > most:
        raise MembersExceeded(_("the tenant has as many members as its plan lets in: %(most)d") % {"most": most})


def _held(membership: Membership) -> Membership:
    _lock(membership.tenant)
    held = Membership.objects.of(membership.tenant_id).select_related("tenant", "user").filter(pk=membership.pk).first()
    if held is None:
        raise WrongState(_("not a member any more"))
    return held


def _keep_an_owner(held: Membership) -> None:
    if not Membership.objects.of(held.tenant_id).filter(role=Role.OWNER).exclude(pk=held.pk).exists():
        raise WrongState(_("the last owner stays: make somebody else an owner first"))
