"""`manage.py token issue|revoke|list`: API tokens of tenants and of operators."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from tenants import tokens
from tenants.management.verbs import VerbCommand, day, duration, identifier, tenant_of
from tenants.models import ApiToken, Tenant


class Command(VerbCommand):
    help = "Issues, revokes and lists API tokens. Without an account they are operators' tokens, which reach every tenant."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        issue = verbs.add_parser("issue", help="a new token; it is printed this once")
        self._whose(issue)
        issue.add_argument(
            "--scope", action="append", default=[], dest="scopes", help="may be repeated; a wrong one is answered with the known ones"
        )
        issue.add_argument("--expires-in", type=duration, default=timedelta(days=90), metavar="TIME", help="at most 366d")
        issue.add_argument("--description", default="")
        verbs.add_parser("revoke", help="end a token").add_argument("id", type=identifier)
        self._whose(verbs.add_parser("list", help="tokens, a line each"))

    def _whose(self, parser: Any) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("account", nargs="?")
        whose.add_argument("--operator", action="store_true")

    def do_issue(self, *, account: str | None, scopes: list[str], expires_in: timedelta, description: str, **_: Any) -> None:
        tenant = _tenant(account)
        known = tokens.known_scopes(tenant)
        if not scopes or not set(scopes) <= set(known):
            raise CommandError(f"Name scopes with --scope, out of: {', '.join(known)}.")
        token, secret = tokens.issue(tenant, scopes=scopes, lifetime=expires_in, description=description, **self.acted)
        self.stderr.write(f"{token.id} for {account or 'operators'}; it is shown this once:")
        self.stdout.write(secret)

    def do_revoke(self, *, id: UUID, **_: Any) -> None:  # noqa: A002 - the argument's name on the command line
        token = ApiToken.objects.across_tenants().select_related("tenant").filter(pk=id).first()
        if token is None:
            raise CommandError(f"There is no token {id}.")
        tokens.revoke(token, **self.acted)
        self.stdout.write(f"{token.hint}… of {token.tenant.account if token.tenant else 'operators'} is revoked")

    def do_list(self, *, account: str | None, **_: Any) -> None:
        tenant = _tenant(account)
        held = ApiToken.objects.of(tenant) if tenant else ApiToken.objects.across_tenants().filter(tenant=None)
        for token in held:
            end = f"revoked {day(token.revoked_at)}" if token.revoked_at else f"expires {day(token.expires_at)}"
            self.stdout.write(f"{token.id}  {token.hint}…  {','.join(token.scopes)}  {end}  {token.description}".rstrip())


def _tenant(account: str | None) -> Tenant | None:
    return tenant_of(account) if account else None
