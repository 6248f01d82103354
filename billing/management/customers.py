"""`manage.py billing hold|unhold|notices`: who is not dunned for a while, and what customers were told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from billing import holds
from billing.management.words import moment
from billing.models import Notice
from billing.notices import sending
from placement.management.telling import table, when
from tenants.management.verbs import VerbCommand, day, tenant_of

SHOWN = 50


class CustomerVerbs(VerbCommand):
    """A part of the command `billing`."""

    def add_customer_verbs(self, verbs: Any) -> None:
        hold = verbs.add_parser("hold", help="do not dun a tenant further until a day; ends by itself")
        hold.add_argument("account")
        hold.add_argument("--until", type=moment, required=True, metavar="DAY", help="such as 2026-08-15, in UTC")
        hold.add_argument("--reason", required=True, help="kept in the audit")
        verbs.add_parser("unhold", help="dun it again now").add_argument("account")
        notices = verbs.add_parser("notices", help="what customers were told by e-mail, or are to be; newest first")
        notices.add_argument("account", nargs="?")
        notices.add_argument("--state", choices=Notice.State.values)
        notices.add_argument("--again", type=int, metavar="ID", help="try one that was given up or dropped once more")

    def do_hold(self, *, account: str, until: datetime, reason: str, **_: Any) -> None:
        held = holds.hold(tenant_of(account), until=until, reason=reason, **self.acted)
        self.stdout.write(f"{account} is not dunned further until {day(held.until)}")

    def do_unhold(self, *, account: str, **_: Any) -> None:
        holds.release(tenant_of(account), **self.acted)
        self.stdout.write(f"{account} is dunned again")

    def do_notices(self, *, account: str | None, state: str | None, again: int | None, **_: Any) -> None:
        if again is not None:
            held = Notice.objects.across_tenants().select_related("tenant").filter(pk=again).first()
            if held is None:
                raise CommandError(f"There is no notice {again}: `manage.py billing notices` shows them.")
            sending.again(held, **self.acted)
            self.stdout.write(f"{again} is tried again")
            return
        rows = Notice.objects.of(tenant_of(account)) if account else Notice.objects.across_tenants()
        found = rows.filter(**({"state": state} if state else {})).select_related("tenant", "invoice").order_by("-id")[:SHOWN]
        heads = ("id", "made", "tenant", "kind", "invoice", "state", "tries", "to", "last problem")
        shown = [_row(notice) for notice in found]
        for line in table(heads, shown) if shown else ["no notice"]:
            self.stdout.write(line)


def _row(notice: Notice) -> tuple[object, ...]:
    about = notice.invoice.name if notice.invoice else "-"
    kind = f"{notice.kind} {notice.facts['stage']}" if "stage" in notice.facts else notice.kind
    told = (notice.state, notice.tries, notice.recipient or "-", notice.problem or "-")
    return (notice.pk, when(notice.made_at), notice.tenant.account, kind, about, *told)
