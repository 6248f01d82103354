"""What people do to a device: rename it, end its login, delete it. The server is asked first, outside of any transaction; its rows then follow.

Every verb is repeatable, so a silent server is asked again by whoever wants it done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db import transaction
from django.utils.translation import gettext as _

from placement import clusters, devices, slots
from placement.errors import ClusterRefused
from placement.models import Device
from placement.policies import wishes
from placement.policies.facts import server_tag, tenant_tag
from tenants import audit, tags
from tenants.errors import MalformedRequest, WrongState

log = structlog.get_logger(__name__)
UNKNOWN_TAG = "invalid or not permitted"  # what a server says of a tag that its policy does not define
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


def rename(device: Device, name: str, *, now: datetime, actor: str) -> Device:
    """Give the device another MagicDNS name. Raises: MalformedRequest (no DNS label, or taken), WrongState, ClusterError."""
    if not LABEL.match(name):
        raise MalformedRequest({"name": _("one DNS label: lower case letters, digits and hyphens, at most 63")})
    _still_there(device)
    with clusters.admin_of(device.cluster) as admin:
        try:
            admin.rename(device.node_id, name)
        except ClusterRefused as refusal:
            if _is_gone(refusal):
                raise _gone(device, now) from refusal
            raise MalformedRequest({"name": _("taken on this cluster, or refused by it")}) from refusal
    return _store(device, "device.rename", actor, now, before=device.name, name=name)


def set_tags(device: Device, given: Sequence[str], *, now: datetime, actor: str) -> Device:
    """The device belongs to these tags (`tag:web`) from now on, and to no person any more.

    Raises: MalformedRequest (not declared by the tenant's policy), WrongState (none given, the device is gone, its server does not know a tag yet),
        ClusterError.
    """
    if not given:
        raise WrongState(
            _("a tagged device does not become untagged again: name at least one tag, or delete the device and let it enrol anew")
        )
    _still_there(device)
    with transaction.atomic():
        tags.check(device.tenant, given)
    told = sorted(server_tag(device.tenant.account, tag) for tag in given)
    with clusters.admin_of(device.cluster) as admin:
        try:
            admin.set_tags(device.node_id, told)
        except ClusterRefused as refusal:
            if _is_gone(refusal):
                raise _gone(device, now) from refusal
            if UNKNOWN_TAG in refusal.reason:
                raise WrongState(_("the server does not know these tags yet: its policy is on its way, try again in a minute")) from refusal
            raise
    with transaction.atomic():
        wishes.touch(device.cluster_id, now=now)
        before = [tenant_tag(tag) for tag in device.tags]
        return _store(device, "device.set_tags", actor, now, stored={"tags": told}, before=before, tags=tags.kept(given))


def expire(device: Device, *, now: datetime, actor: str) -> Device:
    """End the device's login: it is offline until it signs in again. Raises: WrongState, ClusterError."""
    _still_there(device)
    with clusters.admin_of(device.cluster) as admin:
        try:
            admin.expire_node(device.node_id, now)
        except ClusterRefused as refusal:
            if _is_gone(refusal):
                raise _gone(device, now) from refusal
            raise
    return _store(device, "device.expire", actor, now, key_expires_at=now)


def delete(device: Device, *, now: datetime, actor: str) -> Device:
    """Remove the device from its network; its slot is free again. Deleting one that is gone already is no error. Raises: ClusterError."""
    if device.gone_at is None:
        with clusters.admin_of(device.cluster) as admin:
            try:
                admin.delete_node(device.node_id)
            except ClusterRefused as refusal:
                if not _is_gone(refusal):
                    raise
        with transaction.atomic():
            devices.observe(device.cluster_id, [], seen_at=now, now=now, complete=False, gone=[device.node_id])
            slots.release_empty(device.tenant_id, seen_from=now, now=now)
            audit.record(
                "device.delete",
                actor=actor,
                tenant=device.tenant,
                target=f"device:{device.id}",
                now=now,
                name=device.name,
                node_id=device.node_id,
            )
    return Device.objects.of(device.tenant_id).get(pk=device.pk)


@transaction.atomic
def _store(device: Device, verb: str, actor: str, now: datetime, *, stored: dict[str, object] | None = None, **detail: object) -> Device:
    """`stored`: what the row is to hold, where that is not what the audit tells."""
    fields = stored or {name: value for name, value in detail.items() if name != "before"}
    Device.objects.of(device.tenant_id).filter(pk=device.pk, gone_at=None).update(**fields)
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in detail.items()}
    audit.record(verb, actor=actor, tenant=device.tenant, target=f"device:{device.id}", now=now, node_id=device.node_id, **told)
    return Device.objects.of(device.tenant_id).get(pk=device.pk)


def _still_there(device: Device) -> None:
    if device.gone_at is not None:
        raise WrongState(_("the device is gone"))


def _is_gone(refusal: ClusterRefused) -> bool:
    """0.29 says `node not found` with HTTP 500 or 404, 0.30 with 404."""
    return refusal.status == 404 or "not found" in refusal.reason.lower()


def _gone(device: Device, now: datetime) -> WrongState:
    devices.observe(device.cluster_id, [], seen_at=now, now=now, complete=False, gone=[device.node_id])
    return WrongState(_("the device is gone"))
