"""Devices as their servers show them: observed by events and polls, and the verbs that people have for them.

`observe` may be told the same thing twice, late or out of order: what an event said after a poll's list was read wins over the
list, and a device that was deleted meanwhile does not come back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef

from placement import machines, presence, slots
from placement.headscale.admin import Node
from placement.models import Binding, Device, DeviceLogin, Grant, Watch
from placement.policies import noticing, taking

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One node as a server or its database shows it. `online` None: the source does not know."""

    node_id: int
    account: str
    key_id: int | None
    machine_key: str
    node_key: str
    ipv4: str | None
    ipv6: str | None
    hostname: str
    name: str
    tags: tuple[str, ...]
    ephemeral: bool
    joined_at: datetime
    last_seen: datetime | None
    key_expires_at: datetime | None
    online: bool | None = None


CLOCKS_DIFFER = timedelta(minutes=1)
TAG = re.compile(r"tag:([a-z0-9-]+?)--")
COPIED = ("machine_key", "node_key", "ipv4", "ipv6", "hostname", "name", "ephemeral", "key_expires_at")


class Observed(NamedTuple):
    """What a look came to: nodes that belong to no tenant of ours; nodes that came, or of which something was not as we have it."""

    strangers: int
    differing: frozenset[int]


def account_of(user_name: str, tags: Iterable[str]) -> str:
    """The tenant of a node: its tags' prefix where it is tagged, its user otherwise; nothing where the tags name several."""
    accounts = {match[1] if (match := TAG.match(tag)) else "" for tag in tags}
    if not accounts:
        return user_name
    return accounts.pop() if len(accounts) == 1 else ""


def sighting_of(node: Node) -> Sighting:
    """As the admin API shows it."""
    return Sighting(
        node_id=node.id,
        account=account_of(node.user_name, node.tags),
        key_id=node.key_id,
        machine_key=node.machine_key,
        node_key=node.node_key,
        ipv4=node.ipv4,
        ipv6=node.ipv6,
        hostname=node.hostname,
        name=node.name,
        tags=node.tags,
        ephemeral=node.ephemeral,
        joined_at=node.created_at,
        last_seen=node.last_seen,
        key_expires_at=node.expiry,
        online=node.online,
    )


def hold(cluster_id: str) -> Watch:
    """The cluster's devices are changed by one transaction at a time. Must run inside it, before it locks anything of them."""
    Watch.objects.get_or_create(cluster_id=cluster_id)
    return Watch.objects.select_for_update(of=("self",)).get(pk=cluster_id)


@transaction.atomic
def observe(
    cluster_id: str, sightings: Collection[Sighting], *, seen_at: datetime, now: datetime, complete: bool, gone: Collection[int] = ()
) -> Observed:
    """Bring the devices of a cluster in line with what was read at `seen_at` (or later).

    `complete`: the sightings are all of the cluster's nodes, so that others are gone. `gone`: nodes known to be deleted.
    """
    before = hold(cluster_id).complete_at
    missing: list[UUID] = []
    if complete:  # of all nodes those that are worth a look
        found = presence.compare(cluster_id, sightings, seen_at=seen_at, before=before)
        worth, missing = found.new | found.differing, found.missing
        sightings = [sighting for sighting in sightings if sighting.node_id in worth]
    node_ids = {sighting.node_id for sighting in sightings}
    known = _known(cluster_id, node_ids | set(gone))
    tenants = _tenants(cluster_id, {sighting.account for sighting in sightings})
    buried = _buried_since(cluster_id, seen_at)
    strangers = 0
    changed: list[Device] = []
    for sighting in sightings:
        if sighting.node_id in buried:
            continue
        device = known.pop(sighting.node_id, None)
        if device is not None:
            changed += [device] if _refresh(device, sighting, seen_at=seen_at) else []
        elif sighting.account in tenants:
            changed.append(_appear(cluster_id, tenants[sighting.account], sighting, seen_at=seen_at, now=now))
        else:
            strangers += 1
    left = [device for device in known.values() if device.node_id in gone]
    for ids in slices(missing):
        left += Device.objects.across_tenants().filter(pk__in=ids)
    _bury(left, now=now)
    machines.inherit(cluster_id)
    machines.separate(cluster_id, now=now)
    noticing.noticed(cluster_id, [*changed, *left], now=now)
    return Observed(strangers, frozenset(node_ids if complete else ()))


def live(cluster_id: str, node_ids: Collection[int]) -> set[int]:
    """Which of these nodes are devices of the cluster."""
    rows = Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at=None)
    return {node_id for ids in slices(list(node_ids)) for node_id in rows.filter(node_id__in=ids).values_list("node_id", flat=True)}


def _known(cluster_id: str, node_ids: Collection[int]) -> dict[int, Device]:
    rows = Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at=None)
    return {device.node_id: device for ids in slices(list(node_ids)) for device in rows.filter(node_id__in=ids)}


def _tenants(cluster_id: str, accounts: set[str]) -> dict[str, UUID]:
    rows = Binding.objects.across_tenants().filter(cluster_id=cluster_id, tenant__account__in=accounts)
    return dict(rows.values_list("tenant__account", "tenant_id"))


def _buried_since(cluster_id: str, moment: datetime) -> set[int]:
    gone = Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at__gte=moment)
    return set(gone.values_list("node_id", flat=True))


def _appear(cluster_id: str, tenant_id: UUID, sighting: Sighting, *, seen_at: datetime, now: datetime) -> Device:
    grant = _grant(cluster_id, tenant_id, sighting.key_id)
    login = _login(cluster_id, tenant_id, sighting) if sighting.key_id is None else None
    promised = grant or login
    slot, unexpected = (
        (promised.slot, "") if promised and promised.slot.released_at is None else (slots.take_unasked(tenant_id, now=now), "no-grant")
    )
    if unexpected:
        log.warning("unexpected_device", cluster_id=cluster_id, node_id=sighting.node_id, account=sighting.account)
    return Device.objects.create(
        tenant_id=tenant_id,
        cluster_id=cluster_id,
        node_id=sighting.node_id,
        slot=slot,
        grant=grant,
        online=bool(sighting.online),
        first_online_at=seen_at if sighting.online else None,
        last_seen=seen_at if sighting.online else sighting.last_seen,
        tags=list(sighting.tags) if taking.are_given(tenant_id, sighting.account, sighting.tags, key_id=sighting.key_id) else [],
        joined_at=sighting.joined_at,
        seen_at=max(seen_at, sighting.joined_at) if sighting.joined_at <= now else seen_at,
        unexpected=unexpected,
        **{name: getattr(sighting, name) for name in COPIED},
    )


def _grant(cluster_id: str, tenant_id: UUID, key_id: int | None) -> Grant | None:
    if key_id is None:
        return None
    return Grant.objects.of(tenant_id).select_related("slot").filter(cluster_id=cluster_id, key_id=key_id).first()


def _login(cluster_id: str, tenant_id: UUID, sighting: Sighting) -> DeviceLogin | None:
    """A person's login for whose sake a device came without a key: the one that names the node, else the oldest that nobody has come for yet.

    A server tells of the node, by an event, before it answers the call that registered it. Whose it is in the end says placement/logins.py.
    """
    taken = Device.objects.of(tenant_id).filter(slot=OuterRef("slot"), gone_at=None)
    free = DeviceLogin.objects.of(tenant_id).select_related("slot").filter(~Exists(taken), cluster_id=cluster_id)
    named = free.filter(state=DeviceLogin.State.REGISTERED, node_id=sighting.node_id, device=None)
    waiting = free.filter(state__in=DeviceLogin.OPEN, claimed_at__lte=sighting.joined_at + CLOCKS_DIFFER)
    return named.order_by("-claimed_at").first() or waiting.order_by("claimed_at").first()


def _refresh(device: Device, sighting: Sighting, *, seen_at: datetime) -> bool:
    """Write only what changed: most devices are as they were. Whether it is something that policies speak of."""
    changed: dict[str, object] = {}
    if sighting.online is not None and sighting.online != device.online:
        changed["online"] = sighting.online
    if sighting.online and device.first_online_at is None:
        changed["first_online_at"] = seen_at
    if sighting.online or device.last_seen is None:
        sighting = replace(sighting, last_seen=seen_at if sighting.online else sighting.last_seen)
    if sighting.last_seen and (device.last_seen is None or (sighting.last_seen - device.last_seen).total_seconds() > 60):
        changed["last_seen"] = sighting.last_seen
    if device.seen_at <= seen_at:
        changed |= {name: getattr(sighting, name) for name in COPIED if getattr(device, name) != getattr(sighting, name)}
        if list(sighting.tags) != device.tags and taking.are_given(
            device.tenant_id, sighting.account, sighting.tags, key_id=sighting.key_id
        ):
            changed["tags"] = list(sighting.tags)
        changed |= _regranted(device, sighting)
        if changed or sighting.online is None:
            changed["seen_at"] = seen_at
    if changed:
        Device.objects.of(device.tenant_id).filter(pk=device.pk, gone_at=None).update(**changed)
    if "tags" in changed:
        device.tags = [*device.tags, *sighting.tags]  # of both lives, for who notices
    return not noticing.SPOKEN_OF.isdisjoint(changed)


def _regranted(device: Device, sighting: Sighting) -> dict[str, object]:
    """The same machine came again with a fresh key: it moves to that key's slot if no other device has it, and its old slot empties."""
    grant = _grant(device.cluster_id, device.tenant_id, sighting.key_id)
    if grant is None or grant.pk == device.grant_id:
        return {}
    taken = Device.objects.of(device.tenant_id).filter(slot=grant.slot, gone_at=None).exclude(pk=device.pk).exists()
    if taken or grant.slot.released_at is not None:
        return {"grant_id": grant.pk}
    return {"grant_id": grant.pk, "slot_id": grant.slot_id, "unexpected": ""}


def _bury(devices: list[Device], *, now: datetime) -> None:
    for ids in slices([device.pk for device in devices]):
        Device.objects.across_tenants().filter(pk__in=ids, gone_at=None).update(gone_at=now, online=False)


def slices(items: Sequence[T], most: int = 10_000) -> Iterator[Sequence[T]]:
    """As many as one statement may name."""
    return (items[begun : begun + most] for begun in range(0, len(items), most))
