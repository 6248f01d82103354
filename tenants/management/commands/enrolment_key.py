"""`manage.py enrolment_key issue|revoke|list`: the keys with which a tenant's devices ask to join."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from tenants import credentials
from tenants.management.verbs import VerbCommand, day, duration, identifier, tenant_of
from tenants.models import EnrolmentKey


class Command(VerbCommand):
    help = "Issues, revokes and lists enrolment keys."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        issue = verbs.add_parser("issue", help="a new key; its secret is printed this once")
        issue.add_argument("account")
        issue.add_argument("--description", default="")
        issue.add_argument("--max-uses", type=int, metavar="N", help="1 makes it single-use; without it the quota alone limits it")
        issue.add_argument("--expires-in", type=duration, metavar="TIME", help="such as 12h or 30d; without it the key lasts until revoked")
        issue.add_argument("--ephemeral", action="store_true", help="its devices vanish soon after they went offline")
        issue.add_argument(
            "--key-lifetime", type=duration, default=credentials.DEFAULT_LIFETIME, metavar="TIME", help="of the keys that it obtains"
        )
        issue.add_argument(
            "--tag",
            action="append",
            dest="tags",
            metavar="TAG",
            help="such as tag:web, which the tenant's policy declares; may be repeated",
        )
        issue.add_argument("--max-devices", type=int, metavar="DEVICES")
        issue.add_argument("--approval", action="store_true", default=None, help="a device waits until an admin accepts it")
        issue.add_argument("--re-enrolment", choices=EnrolmentKey.ReEnrolment.values, help="what a device gets that asks again")
        issue.add_argument("--region", dest="want_region", help="guides the tenant's first placement")
        issue.add_argument("--cluster", dest="want_cluster", help="the same, to one cluster, if it has room")
        verbs.add_parser("revoke", help="no new keys for it from now on").add_argument("id", type=identifier)
        verbs.add_parser("list", help="a tenant's keys, a line each").add_argument("account")

    def do_issue(self, *, account: str, expires_in: timedelta | None, **options: Any) -> None:
        acted = self.acted
        wish = {name: options[name] for name in credentials.SETTINGS if options.get(name) is not None}
        expires_at = acted["now"] + expires_in if expires_in is not None else None
        key, secret = credentials.issue(tenant_of(account), expires_at=expires_at, **wish, **acted)
        self.stderr.write(f"{key.id} for {account}; the secret is shown this once:")
        self.stdout.write(secret)

    def do_revoke(self, *, id: UUID, **_: Any) -> None:  # noqa: A002 - the argument's name on the command line
        key = EnrolmentKey.objects.across_tenants().select_related("tenant").filter(pk=id).first()
        if key is None:
            raise CommandError(f"There is no enrolment key {id}.")
        credentials.revoke(key, **self.acted)
        self.stdout.write(f"{key.hint}… of {key.tenant.account} is revoked")

    def do_list(self, *, account: str, **_: Any) -> None:
        for key in EnrolmentKey.objects.of(tenant_of(account)):
            uses = f"used {key.uses}" + (f" of {key.max_uses}" if key.max_uses else "")
            end = f"revoked {day(key.revoked_at)}" if key.revoked_at else f"expires {day(key.expires_at)}"
            self.stdout.write(f"{key.id}  {key.hint}…  {uses}  {end}  {key.description}".rstrip())
