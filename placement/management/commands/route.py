"""`manage.py route list|approve|refuse|withdraw`: the prefixes that devices announce, and who may route them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from placement import routing
from placement.errors import PlacementError
from placement.management.telling import table
from placement.models import Route
from tenants.management.verbs import VerbCommand, tenant_of

HEADS = ("id", "tenant", "device", "cluster", "prefix", "state", "announced", "decided by", "reason")


class Command(VerbCommand):
    help = "Shows the routes that devices announce, approves and refuses them."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="routes of a tenant, or of all, a line each")
        listing.add_argument("account", nargs="?")
        listing.add_argument("--state", choices=Route.State.values)
        for verb, meaning in (
            ("approve", "the device may route the prefix for its tenant"),
            ("refuse", "it may not, or not any longer"),
            ("withdraw", "take a decision back: the route waits again"),
        ):
            act = verbs.add_parser(verb, help=meaning)
            act.add_argument("id", type=int)
            if verb == "refuse":
                act.add_argument("--reason", default="")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            super().handle(*args, verb=verb, **options)
        except PlacementError as error:
            raise CommandError(str(error)) from error

    def do_list(self, *, account: str | None, state: str | None, **_: Any) -> None:
        found = Route.objects.of(tenant_of(account)) if account else Route.objects.across_tenants()
        found = found.filter(device__gone_at=None).select_related("tenant", "device").order_by("tenant__account", "prefix", "pk")
        rows = [
            (
                *(row.pk, row.tenant.account, row.device.name, row.cluster_id, row.prefix, row.state),
                *("yes" if row.announced else "no", row.decided_by or "-", row.reason),
            )
            for row in (found.filter(state=state) if state else found)
        ]
        for text in table(HEADS, rows) if rows else ["No device announces a route."]:
            self.stdout.write(text)

    def do_approve(self, *, id: int, **_: Any) -> None:  # noqa: A002 - the argument's name on the command line
        self._say(routing.approve(_route(id), **self.acted))

    def do_refuse(self, *, id: int, reason: str, **_: Any) -> None:  # noqa: A002
        self._say(routing.refuse(_route(id), reason=reason, **self.acted))

    def do_withdraw(self, *, id: int, **_: Any) -> None:  # noqa: A002
        self._say(routing.withdraw(_route(id), **self.acted))

    def _say(self, route: Route) -> None:
        self.stdout.write(f"{route.prefix} of {route.device.name} is {route.state}")


def _route(number: int) -> Route:
    found = Route.objects.across_tenants().filter(pk=number).first()
    if found is None:
        raise CommandError(f"There is no route {number}: `manage.py route list` shows them.")
    return found
