"""`manage.py enrolment_group make|rotate|change|revoke|list`: devices that sign with keys derived from a group's secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenants import credentials, groups
from tenants.management.verbs import VerbCommand, day, duration, tenant_of
from tenants.models import EnrolmentGroup, EnrolmentKey


class Command(VerbCommand):
    help = "Makes enrolment groups, rotates their secrets, changes and revokes them."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        make = verbs.add_parser("make", help="a new group; its two secrets are shown this once")
        self._named(make)
        self._settings(make)
        change = verbs.add_parser("change", help="other settings for what is asked from now on")
        self._named(change)
        self._settings(change)
        rotate = verbs.add_parser("rotate", help="another secret in the place of one of the two; keys derived from the old one end")
        self._named(rotate)
        rotate.add_argument("which", choices=["primary", "secondary"])
        self._named(verbs.add_parser("revoke", help="no new keys for its devices from now on"))
        verbs.add_parser("list", help="a tenant's groups, a line each").add_argument("account")

    def _named(self, parser: CommandParser) -> None:
        parser.add_argument("account")
        parser.add_argument("name")

    def _settings(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--allow", action="append", dest="allowed", metavar="PATTERN", help="registration ids, with * and ?; may be repeated"
        )
        parser.add_argument("--deny", action="append", dest="denied", metavar="PATTERN")
        parser.add_argument(
            "--tag",
            action="append",
            dest="tags",
            metavar="TAG",
            help="such as tag:web, which the tenant's policy declares; may be repeated",
        )
        parser.add_argument("--max-devices", type=int, metavar="DEVICES")
        parser.add_argument("--key-lifetime", type=duration, metavar="DURATION", help="such as 30m; 2m to 24h")
        parser.add_argument("--ephemeral", action="store_true", default=None)
        parser.add_argument("--approval", action="store_true", default=None, help="a device waits until an admin accepts it")
        parser.add_argument("--re-enrolment", choices=EnrolmentKey.ReEnrolment.values, help="what a device gets that asks again")
        parser.add_argument("--region", dest="want_region", help="guides the tenant's first placement")
        parser.add_argument("--cluster", dest="want_cluster", help="the same, to one cluster, if it has room")

    def do_make(self, *, account: str, name: str, **options: Any) -> None:
        group, made = groups.make(tenant_of(account), name, **_wish(options), **self.acted)
        self.stdout.write(f"group      {group.pk}\nprimary    {made.primary}\nsecondary  {made.secondary}")

    def do_change(self, *, account: str, name: str, **options: Any) -> None:
        group = groups.change(_group(account, name), **_wish(options), **self.acted)
        self.stdout.write(f"{group.name} is changed")

    def do_rotate(self, *, account: str, name: str, which: groups.Which, **_: Any) -> None:
        self.stdout.write(f"{which:10} {groups.rotate(_group(account, name), which, **self.acted)}")

    def do_revoke(self, *, account: str, name: str, **_: Any) -> None:
        credentials.revoke(_group(account, name).key, **self.acted)
        self.stdout.write(f"{name} is revoked")

    def do_list(self, *, account: str, **_: Any) -> None:
        for group in EnrolmentGroup.objects.of(tenant_of(account)).select_related("key"):
            key = group.key
            state = "revoked" if key.revoked_at else "live"
            most = key.max_devices if key.max_devices is not None else "no limit"
            self.stdout.write(
                f"{group.pk}  {group.name}  {state}  {key.devices} devices of {most}  secrets of {day(group.primary_made_at)}, {day(group.secondary_made_at)}"
            )


def _wish(options: dict[str, Any]) -> dict[str, Any]:
    """Only what was said: the rest keeps its value, or gets the default."""
    names = (
        "allowed",
        "denied",
        "max_devices",
        "key_lifetime",
        "ephemeral",
        "approval",
        "re_enrolment",
        "want_region",
        "want_cluster",
        "tags",
    )
    said: dict[str, Any] = {name: options[name] for name in names if options.get(name) is not None}
    if isinstance(said.get("key_lifetime"), timedelta) and said["key_lifetime"] <= timedelta(0):
        raise CommandError("--key-lifetime: longer than nothing")
    return said


def _group(account: str, name: str) -> EnrolmentGroup:
    found = EnrolmentGroup.objects.of(tenant_of(account)).select_related("key__tenant", "tenant").filter(name=name).first()
    if found is None:
        raise CommandError(f"{account} has no group {name!r}: `manage.py enrolment_group list {account}` shows them.")
    return found
