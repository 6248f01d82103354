"""`manage.py policy show|set|check|preview|explain|versions|diff|rollback ACCOUNT`: a tenant's network policy and who reaches what by it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from placement.errors import PlacementError, PolicyNotProven
from placement.management import policy_words
from placement.policies import explaining, storing
from placement.policies.preview import preview
from tenants import netpolicy
from tenants.errors import StaleVersion
from tenants.management.verbs import VerbCommand, tenant_of
from tenants.models import NetworkPolicy, PolicyVersion, Tenant
from tenants.policies.document import Fault, PolicyRefused
from tenants.policies.hujson import LONGEST


class Command(VerbCommand):
    help = "Shows, stores, checks and explains the network policies of tenants."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        show = self._verb(verbs, "show", "the text that counts; what the server runs goes to standard error")
        show.add_argument("--version", type=int, dest="number", metavar="N")
        put = self._verb(verbs, "set", "store a text as the new version")
        self._text(put)
        put.add_argument("--note", default="")
        seen = put.add_mutually_exclusive_group(required=True)
        seen.add_argument("--expected", type=int, metavar="N", help="the version that you saw; 0: none yet")
        seen.add_argument("--force", action="store_true", help="whatever others have stored meanwhile")
        self._text(self._verb(verbs, "check", "whether a text could be stored; the tenant's server is asked"))
        self._text(self._verb(verbs, "preview", "what a text would change; no server is asked"))
        explain = self._verb(verbs, "explain", "why A reaches B, or why not")
        explain.add_argument("src", metavar="A", help="a word of the policy: a device, tag, group, person, address")
        explain.add_argument("dst", metavar="B", help="the same; autogroup:internet and routed prefixes too")
        explain.add_argument("--service", default="", help="such as tcp:22 or 443; without it, any")
        self._verb(verbs, "versions", "every version, a line each")
        diff = self._verb(verbs, "diff", "what a version changed")
        diff.add_argument("number", type=int, nargs="?", metavar="N", help="without it the one that counts")
        diff.add_argument("--against", type=int, metavar="N", help="without it the one before; 0: nothing")
        back = self._verb(verbs, "rollback", "store an earlier version's text again")
        back.add_argument("--to", type=int, metavar="N", help="without it the one before; 0: the default policy")
        back.add_argument("--note", default="")

    def _verb(self, verbs: Any, name: str, meaning: str) -> CommandParser:
        parser: CommandParser = verbs.add_parser(name, help=meaning)
        parser.add_argument("account")
        return parser

    def _text(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="HuJSON; - reads standard input; an empty one is the default policy")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            super().handle(*args, **options)
        except (PolicyRefused, PolicyNotProven) as error:
            raise CommandError("\n".join([*_first_line(error), *map(_told, error.faults)])) from error
        except PlacementError as error:
            raise CommandError(str(error)) from error

    # ---- what is there ----------------------------------------------------------------------------------------------

    def do_show(self, *, account: str, number: int | None, **_: Any) -> None:
        tenant = tenant_of(account)
        policy = NetworkPolicy.objects.of(tenant).select_related("current", "running").first()
        if number is not None:
            self.stdout.write(_version(tenant, number).text, ending="")  # just what was stored, to be stored again
            return
        for line in policy_words.standing(account, policy):
            self.stderr.write(line)
        if policy is not None:
            self.stdout.write(policy.current.text, ending="")

    def do_versions(self, *, account: str, **_: Any) -> None:
        self._lines(policy_words.versions(netpolicy.versions(tenant_of(account))))

    def do_diff(self, *, account: str, number: int | None, against: int | None, **_: Any) -> None:
        tenant = tenant_of(account)
        new = netpolicy.current(tenant) if number is None else _version(tenant, number)
        if new is None:
            raise CommandError(f"{account} has no version of a policy yet.")
        old = new.number - 1 if against is None else against
        self.stdout.write(netpolicy.diff(_version(tenant, old) if old else None, new) or "nothing changed", ending="")

    def do_explain(self, *, account: str, src: str, dst: str, service: str, **_: Any) -> None:
        reach = storing.world_of(tenant_of(account)).reach
        self._lines(policy_words.explanation(explaining.explain(reach, src, dst, explaining.service_of(service))))

    # ---- what could be ----------------------------------------------------------------------------------------------

    def do_check(self, *, account: str, file: str, **_: Any) -> None:
        self._lines(policy_words.verdict(storing.check(tenant_of(account), _read(file), timezone.now())))

    def do_preview(self, *, account: str, file: str, **_: Any) -> None:
        self._lines(policy_words.preview(preview(tenant_of(account), _read(file))))

    # ---- what is to be ----------------------------------------------------------------------------------------------

    def do_set(self, *, account: str, file: str, note: str, expected: int | None, **_: Any) -> None:
        try:
            stored = storing.store(tenant_of(account), _read(file), expected=expected, note=note, **self.acted)
        except StaleVersion as stale:
            raise CommandError(
                f"{stale}: nothing was stored. `manage.py policy diff {account}` shows what it changed; --expected {stale.current} stores on top of it."
            ) from stale
        self._lines(policy_words.stored(stored))

    def do_rollback(self, *, account: str, to: int | None, note: str, **_: Any) -> None:
        self._lines(policy_words.stored(storing.roll_back(tenant_of(account), expected=None, to_number=to, note=note, **self.acted)))

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)


def _read(path: str) -> str:
    try:
        text = sys.stdin.read(LONGEST + 1) if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    return text


def _version(tenant: Tenant, number: int) -> PolicyVersion:
    found = netpolicy.version(tenant, number)
    if found is None:
        raise CommandError(f"{tenant.account} has no version {number}: `manage.py policy versions {tenant.account}` shows them.")
    return found


def _first_line(error: PolicyRefused | PolicyNotProven) -> list[str]:
    if isinstance(error, PolicyRefused):
        return ["The policy cannot be used as it is:"]
    return [str(error), error.evidence] if error.evidence not in ("", str(error)) else [str(error)]


def _told(fault: Fault) -> str:
    return f"  {fault}" + (f" [{fault.path}]" if fault.path else "")
