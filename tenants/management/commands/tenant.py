"""`manage.py tenant create|suspend|resume|close|reopen|list|show|plan`: tenants and their lives."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenants import lifecycle
from tenants.management.verbs import VerbCommand, day, tenant_of
from tenants.models import Plan, Tenant

CHANGES = {
    "suspend": "no new keys; after the grace period its devices expire",
    "resume": "undo a suspension",
    "close": "no keys, no API; its devices expire, and are deleted after the retention period",
    "reopen": "undo a close before the retention period ends",
}


class Command(VerbCommand):
    help = "Creates tenants, shows them and changes their states and plans."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="a new tenant; it gets a cluster with its first device")
        create.add_argument("account", help="becomes a host name, a headscale user and a tag prefix: it never changes")
        create.add_argument("--plan", required=True)
        create.add_argument("--title", default="")
        create.add_argument("--residency", default="", help="the jurisdiction its data must stay in; anywhere if left out")
        for verb, meaning in CHANGES.items():
            change = verbs.add_parser(verb, help=meaning)
            change.add_argument("account")
            change.add_argument("--reason", default="", help="kept in the audit")
        listing = verbs.add_parser("list", help="every tenant, a line each")
        listing.add_argument("--state", choices=Tenant.State.values)
        verbs.add_parser("show", help="all about one tenant").add_argument("account")
        plan = verbs.add_parser("plan", help="move a tenant to another plan")
        plan.add_argument("account")
        plan.add_argument("plan")

    def do_create(self, *, account: str, plan: str, title: str, residency: str, **_: Any) -> None:
        made = lifecycle.create(account, plan=_plan(plan), title=title, residency=residency, **self.acted)
        self.stdout.write(f"{made.account} is {made.state}")

    def do_suspend(self, **options: Any) -> None:
        self._change("suspend", **options)

    def do_resume(self, **options: Any) -> None:
        self._change("resume", **options)

    def do_close(self, **options: Any) -> None:
        self._change("close", **options)

    def do_reopen(self, **options: Any) -> None:
        self._change("reopen", **options)

    def _change(self, verb: str, *, account: str, reason: str, **_: Any) -> None:
        changed = getattr(lifecycle, verb)(tenant_of(account), reason=reason, **self.acted)
        dates = {"devices expire": changed.devices_expire_at, "are deleted": changed.devices_delete_at}
        self.stdout.write("; ".join([f"{account} is {changed.state}", *(f"{what} {day(at)}" for what, at in dates.items() if at)]))

    def do_list(self, *, state: str | None, **_: Any) -> None:
        tenants = Tenant.objects.select_related("quota").order_by("account")
        for tenant in tenants.filter(state=state) if state else tenants:
            self.stdout.write(f"{tenant.account}  {tenant.state}  {tenant.plan_id}  {tenant.quota} slots  {tenant.title}".rstrip())

    def do_show(self, *, account: str, **_: Any) -> None:
        tenant = tenant_of(account)
        facts = {
            "title": tenant.title,
            "state": tenant.state,
            "plan": tenant.plan_id,
            "residency": tenant.residency or "anywhere",
            "slots": f"{tenant.quota.used} of {tenant.quota.limit}",
            "created": day(tenant.created_at),
            "suspended": day(tenant.suspended_at),
            "closed": day(tenant.closed_at),
            "devices expire": day(tenant.devices_expire_at),
            "devices deleted": day(tenant.devices_delete_at),
        }
        for name, fact in facts.items():
            self.stdout.write(f"{name:16} {fact}")

    def do_plan(self, *, account: str, plan: str, **_: Any) -> None:
        changed = lifecycle.change_plan(tenant_of(account), _plan(plan), **self.acted)
        self.stdout.write(f"{account} is on {changed.plan_id}: {changed.plan.max_devices} devices")


def _plan(name: str) -> Plan:
    plan = Plan.objects.filter(pk=name).first()
    if plan is None:
        raise CommandError(f"There is no plan {name!r}: `manage.py plan list` shows them.")
    return plan
