"""`manage.py audit verify|seal|export`: the audit's chains proven, completed and taken along."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenants import audit
from tenants.management.verbs import VerbCommand, tenant_of
from tenants.models import AuditEvent


class Command(VerbCommand):
    help = "Verifies the audit's hash chains, seals what waits, exports events as JSON lines."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("verify", help="recompute every chain; exit status 1 when one is broken")
        verbs.add_parser("seal", help="give unsealed events their places now")
        export = verbs.add_parser("export", help="events with their places and hashes, oldest first, a JSON object a line")
        export.add_argument("--account", help="only this tenant's; without it everything")

    def do_verify(self, **_: Any) -> None:
        broken = 0
        for verdict in audit.verify():
            state = "whole" if verdict.whole else f"BROKEN at {verdict.broken_at}"
            self.stdout.write(f"{verdict.chain}  {state}  {verdict.events} sealed  {verdict.unsealed} unsealed")
            broken += not verdict.whole
        if broken:
            raise CommandError(f"{broken} chains are broken.", returncode=1)

    def do_seal(self, **_: Any) -> None:
        total = 0
        while sealed := audit.seal_all():
            total += sealed
        self.stdout.write(f"{total} events sealed")

    def do_export(self, *, account: str | None, **_: Any) -> None:
        events = AuditEvent.objects.of(tenant_of(account)) if account else AuditEvent.objects.across_tenants()
        for line in _lines(events.select_related("tenant", "seal").order_by("id").iterator(chunk_size=2000)):
            self.stdout.write(line)


def _lines(events: Iterator[AuditEvent]) -> Iterator[str]:
    for event in events:
        seal = getattr(event, "seal", None)
        yield json.dumps(
            {
                "id": event.pk,
                "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
                "tenant": str(event.tenant_id or ""),
                "account": event.tenant.account if event.tenant else "",
                "actor": event.actor,
                "verb": event.verb,
                "target": event.target,
                "detail": event.detail,
                "request_id": event.request_id,
                "position": seal.position if seal else None,
                "hash": bytes(seal.hash).hex() if seal else None,
            },
            ensure_ascii=False,
        )
