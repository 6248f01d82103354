"""`manage.py derive_key REGISTRATION_ID`: a device's own key from its group's secret, for the factory's side of the house."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import groups, signing
from tenants.management.verbs import tenant_of
from tenants.models import EnrolmentGroup


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Derives a device's key: base64(HMAC-SHA256(secret, lower(registration id)))."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("registration_ids", nargs="+", metavar="REGISTRATION_ID")
        parser.add_argument(
            "--group",
            nargs=2,
            metavar=("ACCOUNT", "NAME"),
            help="use the secret of this group; without it the secret is read from standard input",
        )
        parser.add_argument("--which", choices=["primary", "secondary"], default="primary")

    def handle(self, *_args: Any, registration_ids: list[str], group: list[str] | None, which: groups.Which, **_: Any) -> None:
        for registration_id in registration_ids:
            if not signing.REGISTRATION_ID.match(registration_id):
                raise CommandError(
                    f"{registration_id!r} is no registration id: 1 to 128 letters, digits and . _ : -, the first one a letter or digit"
                )
        secret = self._secret_of(group[0], group[1], which) if group else sys.stdin.readline().strip()
        if not secret:
            raise CommandError("No secret: name a --group, or write the secret to standard input.")
        for registration_id in registration_ids:
            self.stdout.write(f"{registration_id.lower()}  {signing.derive_key(secret, registration_id)}")

    def _secret_of(self, account: str, name: str, which: groups.Which) -> str:
        found = EnrolmentGroup.objects.of(tenant_of(account)).filter(name=name).first()
        if found is None:
            raise CommandError(f"{account} has no group {name!r}.")
        return groups.secret_of(found, which)
