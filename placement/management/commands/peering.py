"""`manage.py peering list|offer|accept|end`: what tenants share with each other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from placement.errors import PlacementError
from placement.management.telling import when
from placement.policies import peerings
from tenants.management.verbs import VerbCommand, identifier, tenant_of
from tenants.models import Peering

WORDS = "*, autogroup:member, autogroup:tagged, tag:NAME, group:NAME, a registration id, a device's name or address"


class Command(VerbCommand):
    help = "Offers what one tenant shares with another, accepts it for the other one, ends it, and lists what there is."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="a line each; of one tenant, or of all")
        listing.add_argument("account", nargs="?")
        listing.add_argument("--state", choices=Peering.State.values)
        offer = verbs.add_parser("offer", help="HOST shares with GUEST once it accepts")
        offer.add_argument("host")
        offer.add_argument("guest")
        offer.add_argument("dst", nargs="+", help=f"what is shared, in the host's words: {WORDS}")
        offer.add_argument("--service", action="append", dest="services", help="may be repeated: *, 443, tcp:80-90, icmp:*; without it all")
        offer.add_argument("--description", default="")
        accept = verbs.add_parser("accept", help="for the guest")
        accept.add_argument("peering_id", type=identifier)
        accept.add_argument("src", nargs="+", help=f"who may use it, in the guest's words: {WORDS}")
        verbs.add_parser("end", help="for both; an offer is taken back").add_argument("peering_id", type=identifier)

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            super().handle(*args, verb=verb, **options)
        except PlacementError as error:
            raise CommandError(str(error)) from error

    def do_list(self, *, account: str | None, state: str | None, **_: Any) -> None:
        rows = peerings.of(tenant_of(account) if account else None)
        for row in rows.filter(state=state) if state else rows:
            use = f"used by {' '.join(row.src)}" if row.src else "nobody uses it"
            since = when(row.ended_at or row.accepted_at or row.offered_at)
            told = f"{row.pk}  {row}  {row.state} {since}  {' '.join(row.dst)} on {' '.join(row.services)}, {use}"
            self.stdout.write("  ".join(filter(None, [told, row.description, peerings.note(row)])))

    def do_offer(self, *, host: str, guest: str, dst: list[str], services: list[str] | None, description: str, **_: Any) -> None:
        wish = {"dst": dst, "services": services or ["*"], "description": description}
        made = peerings.offer(tenant_of(host), guest, **wish, **self.acted)  # type: ignore[arg-type]
        self.stdout.write(f"{made.pk}  offered to {guest}: `manage.py peering accept {made.pk} WORD ...` accepts it")
        if note := peerings.note(self._row(made.pk)):
            self.stdout.write(note)

    def do_accept(self, *, peering_id: UUID, src: list[str], **_: Any) -> None:
        accepted = peerings.accept(self._row(peering_id), src, **self.acted)
        self.stdout.write(f"{accepted} is accepted")

    def do_end(self, *, peering_id: UUID, **_: Any) -> None:
        ended = peerings.end(self._row(peering_id), by=None, **self.acted)
        self.stdout.write(f"{ended} is ended")

    def _row(self, peering_id: UUID) -> Peering:
        found = peerings.of(None).filter(pk=peering_id).first()
        if found is None:
            raise CommandError(f"There is no peering {peering_id}: `manage.py peering list` shows them.")
        return found
