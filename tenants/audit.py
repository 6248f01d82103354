"""The audit's verbs: record an act in its own transaction, seal it into its chain right after, verify a chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from django.db import transaction

from tenants.models import AuditChain, AuditEvent, AuditSeal, Tenant

FOLLOWERS: list[Callable[[AuditEvent], None]] = []  # what to call after a commit that recorded an act: acs wires its tasks in


def record(verb: str, *, actor: str, tenant: Tenant | None, now: datetime, target: str = "", **detail: Any) -> AuditEvent:
    """Write one event. Must run inside the act's own transaction, so that there is no act without its event and none the other way round."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("an audit event belongs into the transaction of its act")
    request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
    event = AuditEvent.objects.create(at=now, tenant=tenant, actor=actor, verb=verb, target=target, detail=detail, request_id=request_id)
    for follow in FOLLOWERS:
        transaction.on_commit(partial(follow, event), robust=True)
    return event


def seal_all(*, limit: int = 1000) -> int:
    """Seal unsealed events, chain by chain, in order of their ids. Returns how many were sealed. Safe to run twice at once."""
    waiting = AuditEvent.objects.across_tenants().filter(seal=None)
    tenants = list(waiting.order_by().values_list("tenant_id", flat=True).distinct()[:limit])
    return sum(_seal_chain(tenant_id, limit) for tenant_id in tenants)


@transaction.atomic
def _seal_chain(tenant_id: Any, limit: int) -> int:
    chain, _ = AuditChain.objects.get_or_create(tenant_id=tenant_id)
    chain = AuditChain.objects.select_for_update(of=("self",)).get(pk=chain.pk)
    events = AuditEvent.objects.across_tenants().filter(tenant_id=tenant_id, seal=None).order_by("id")[:limit]
    head, length, seals = bytes(chain.head), chain.length, []
    for event in events:
        head, length = link(head, event), length + 1
        seals.append(AuditSeal(event=event, chain=chain, position=length, hash=head))
    AuditSeal.objects.bulk_create(seals)
    AuditChain.objects.filter(pk=chain.pk).update(head=head, length=length)
    return len(seals)


def link(previous: bytes, event: AuditEvent) -> bytes:
    """The hash of an event in its chain: SHA-256 over the previous hash and the event's canonical JSON."""
    canonical = json.dumps(
        {
            "id": event.pk,
            "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "tenant": str(event.tenant_id or ""),
            "actor": event.actor,
            "verb": event.verb,
            "target": event.target,
            "detail": event.detail,
            "request_id": event.request_id,
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(previous + canonical.encode()).digest()


@dataclass(frozen=True)
class Verdict:
    """What verifying one chain found. `broken_at` is the first position whose hash does not follow; None is whole."""

    chain: str
    events: int
    unsealed: int
    broken_at: int | None

    @property
    def whole(self) -> bool:
        return self.broken_at is None


def verify() -> Iterator[Verdict]:
    """Recompute every chain from its events."""
    for chain in AuditChain.objects.select_related("tenant").order_by("pk"):
        yield _verify_chain(chain)


def _verify_chain(chain: AuditChain) -> Verdict:
    head, position, broken_at = bytes(32), 0, None
    for seal in AuditSeal.objects.filter(chain=chain).select_related("event").order_by("position").iterator(chunk_size=2000):
        head, position = link(head, seal.event), position + 1
        if broken_at is None and (seal.position != position or bytes(seal.hash) != head or seal.event.tenant_id != chain.tenant_id):
            broken_at = position
    if broken_at is None and (chain.length != position or bytes(chain.head) != head):
        broken_at = position + 1
    unsealed = AuditEvent.objects.across_tenants().filter(tenant=chain.tenant, seal=None).count()
    return Verdict(chain.tenant.account if chain.tenant else "operators", position, unsealed, broken_at)
