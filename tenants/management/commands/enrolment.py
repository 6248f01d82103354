"""`manage.py enrolment list|accept|disable|enable|forget`: single devices by their registration id."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenants import enrolments
from tenants.management.verbs import VerbCommand, day, tenant_of
from tenants.models import Enrolment


class Command(VerbCommand):
    help = "Accepts devices that wait, disables and enables devices by their registration id."

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
            if verb == "disable":
                act.add_argument("--reason", default="")

    def do_list(self, *, account: str, state: str | None, **_: Any) -> None:
        found = Enrolment.objects.of(tenant_of(account))
        for one in found.filter(state=state) if state else found:
            asked = f"asked {one.asked} times, last {day(one.asked_at)}" if one.asked else "has not asked"
            self.stdout.write(f"{one.registration_id}  {one.state}  {asked}  {one.reason}".rstrip())

    def do_accept(self, *, account: str, registration_id: str, **_: Any) -> None:
        self._say(enrolments.accept(_enrolment(account, registration_id), **self.acted))

    def do_enable(self, *, account: str, registration_id: str, **_: Any) -> None:
        self._say(enrolments.put(tenant_of(account), registration_id, state="enabled", **self.acted))

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
