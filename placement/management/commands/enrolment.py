"""`manage.py enrolment list|accept|disable|enable|forget|why|report`: single devices by their registration id."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import translation

from placement.diagnosis import gather, notes
from placement.management import telling
from tenants import enrolments
from tenants.management.verbs import VerbCommand, day, tenant_of
from tenants.models import Enrolment


class Command(VerbCommand):
    help = "Accepts devices that wait, disables and enables devices by their registration id, and tells why one is not in its network."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="a tenant's enrolments, a line each")
        listing.add_argument("account")
        listing.add_argument("--state", choices=Enrolment.State.values)
        for verb, meaning in (
            ("accept", "a device that waits, or was disabled, gets its key when it asks next"),
            ("enable", "the same for a device that has not asked yet"),
            ("disable", "a device gets no keys; the reason is for people, not for the device"),
            ("forget", "what its credential says counts again"),
        ):
            act = verbs.add_parser(verb, help=meaning)
            act.add_argument("account")
            act.add_argument("registration_id")
            if verb == "enable":
                act.add_argument("--tag", action="append", dest="tags", metavar="TAG", help="in place of its credential's; may be repeated")
            if verb == "disable":
                act.add_argument("--reason", default="")

        why = verbs.add_parser("why", help="what happened to a device, where it stalls, and the likely cause")
        why.add_argument("registration_id")
        why.add_argument("--account", help="needed where several tenants know the registration id")
        why.add_argument("--language", choices=["en", "zh-hans"], default="en")
        report = verbs.add_parser(
            "report", help="what a device's own side reports, such as `tailscale netcheck --format=json`, from a file or -"
        )
        report.add_argument("account")
        report.add_argument("registration_id")
        report.add_argument("file")

    def do_why(self, *, registration_id: str, account: str | None, language: str, **_: Any) -> None:
        now = self.acted["now"]
        found = []
        for tenant in [tenant_of(account)] if account else gather.tenants_with(registration_id):
            if diagnosis := gather.diagnose(tenant, registration_id, now=now, claimed=True):
                found.append((tenant, diagnosis))
        if not found:
            raise CommandError(f"Nobody has heard of {registration_id!r}: no request, no enrolment, no device.")
        with translation.override(language):
            for tenant, diagnosis in found:
                self.stdout.write("\n".join(telling.diagnosis(tenant, diagnosis)))

    def do_report(self, *, account: str, registration_id: str, file: str, **_: Any) -> None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
            told = json.loads(text)
        except (OSError, ValueError) as error:
            raise CommandError(f"{file}: {error}") from error
        if isinstance(told, dict) and not {"netcheck", "probes"} & told.keys():
            told = {"netcheck": told}  # what `tailscale netcheck` printed, as it is
        notes.report(
            tenant_of(account),
            registration_id,
            told if isinstance(told, dict) else {"": told},
            by=self.acted["actor"],
            now=self.acted["now"],
        )
        self.stdout.write(f"{registration_id.lower()} has reported")

    def do_list(self, *, account: str, state: str | None, **_: Any) -> None:
        found = Enrolment.objects.of(tenant_of(account))
        for one in found.filter(state=state) if state else found:
            asked = f"asked {one.asked} times, last {day(one.asked_at)}" if one.asked else "has not asked"
            self.stdout.write(f"{one.registration_id}  {one.state}  {asked}  {one.reason}".rstrip())

    def do_accept(self, *, account: str, registration_id: str, **_: Any) -> None:
        self._say(enrolments.accept(_enrolment(account, registration_id), **self.acted))

    def do_enable(self, *, account: str, registration_id: str, tags: list[str] | None, **_: Any) -> None:
        own: dict[str, Any] = {"tags": tags} if tags is not None else {}
        self._say(enrolments.put(tenant_of(account), registration_id, state="enabled", **own, **self.acted))

    def do_disable(self, *, account: str, registration_id: str, reason: str, **_: Any) -> None:
        self._say(enrolments.put(tenant_of(account), registration_id, state="disabled", reason=reason, **self.acted))

    def do_forget(self, *, account: str, registration_id: str, **_: Any) -> None:
        enrolments.forget(_enrolment(account, registration_id), **self.acted)
        self.stdout.write(f"{registration_id.lower()} is forgotten")

    def _say(self, enrolment: Enrolment) -> None:
        self.stdout.write(f"{enrolment.registration_id} is {enrolment.state}")


def _enrolment(account: str, registration_id: str) -> Enrolment:
    found = Enrolment.objects.of(tenant_of(account)).select_related("tenant").filter(registration_id=registration_id.lower()).first()
    if found is None:
        raise CommandError(f"{account} knows no registration id {registration_id!r}: `manage.py enrolment list {account}` shows them.")
    return found
