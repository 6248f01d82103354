"""`manage.py member add|role|remove|list`: people of a tenant, by their e-mail addresses."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from tenants import members, people
from tenants.management.verbs import VerbCommand, day, tenant_of
from tenants.models import Membership, Tenant

ROLES = Membership.Role.values


class Command(VerbCommand):
    help = "Lets people into tenants, changes their roles and takes them out. Owners, admins and members may add devices by signing in."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="let a person in")
        self._whom(add)
        add.add_argument("--role", choices=ROLES, default="member")
        add.add_argument("--new", action="store_true", help="make the person, too; the link to choose a password is printed this once")
        role = verbs.add_parser("role", help="change a member's role")
        self._whom(role)
        role.add_argument("role", choices=ROLES)
        self._whom(verbs.add_parser("remove", help="take a person out; devices that they brought stay"))
        verbs.add_parser("list", help="a tenant's members, a line each").add_argument("account")

    def _whom(self, parser: Any) -> None:
        parser.add_argument("account")
        parser.add_argument("email")

    @transaction.atomic
    def do_add(self, *, account: str, email: str, role: str, new: bool, **_: Any) -> None:
        tenant = tenant_of(account)
        person = people.make(email, **self.acted) if new else people.find(email)
        if person is None:
            raise CommandError(f"Nobody has verified the address {email!r}. With --new the person is made.")
        members.add(tenant, person, role, **self.acted)
        self.stderr.write(f"{email} is {role} of {account}" + ("; the link to choose a password:" if new else ""))
        if new:
            self.stdout.write(settings.PUBLIC_URL + people.password_path(person))

    def do_role(self, *, account: str, email: str, role: str, **_: Any) -> None:
        members.change_role(_membership(tenant_of(account), email), role, **self.acted)
        self.stdout.write(f"{email} is {role} of {account}")

    def do_remove(self, *, account: str, email: str, **_: Any) -> None:
        members.remove(_membership(tenant_of(account), email), **self.acted)
        self.stdout.write(f"{email} is no member of {account} any more")

    def do_list(self, *, account: str, **_: Any) -> None:
        held = Membership.objects.of(tenant_of(account)).select_related("user").order_by("user__email", "user_id")
        for membership in held:
            who = membership.user.email or membership.user.get_username()
            self.stdout.write(f"{who}  {membership.role}  since {day(membership.created_at)}")


def _membership(tenant: Tenant, email: str) -> Membership:
    person = people.find(email)
    held = Membership.objects.of(tenant).select_related("tenant", "user").filter(user=person).first() if person else None
    if held is None:
        raise CommandError(f"{email!r} is no member of {tenant.account}: `manage.py member list {tenant.account}` shows them.")
    return held
