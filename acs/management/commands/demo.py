"""`manage.py demo`: the sample data of `make run`, made once: a plan, a tenant, an enrolment key, an operator's login and token."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from tenants import credentials, lifecycle, tokens
from tenants.errors import BadCredential
from tenants.models import EnrolmentKey, Plan, Tenant

ACTOR = "system:demo"


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Make the sample data that is missing; prints what can only be told once as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", default="acme-inc")
        parser.add_argument("--admin-password", default="")
        parser.add_argument("--new-secrets", action="store_true", help="issue an enrolment key and an operator's token")
        parser.add_argument(
            "--stdin",
            action="store_true",
            help="read what is known already as JSON: `admin password`, and the secrets told before, kept if valid",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        now = timezone.now()
        known: dict[str, str] = json.load(sys.stdin) if options["stdin"] else {"admin password": options["admin_password"]}
        plan, _ = Plan.objects.get_or_create(name="team", defaults={"title": "Team", "max_devices": 100, "expected_devices": 10})
        tenant = Tenant.objects.filter(account=options["account"]).first()
        tenant = tenant or lifecycle.create(options["account"], plan=plan, now=now, actor=ACTOR, title="Acme Inc.")
        told: dict[str, str] = {}
        if options["stdin"] or options["new_secrets"]:
            told = {"enrolment key": enrolment_key(tenant, known, now), "operator token": operator_token(known, now)}
        admin, is_new = User.objects.get_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
        if is_new and known["admin password"]:
            admin.set_password(known["admin password"])
            admin.save()
        self.stdout.write(json.dumps(told))


def enrolment_key(tenant: Tenant, known: dict[str, str], now: datetime) -> str:
    digest = tokens.digest_of(known.get("enrolment key", ""))
    if EnrolmentKey.objects.of(tenant).filter(digest=digest, revoked_at=None, expires_at=None).exists():
        return known["enrolment key"]
    return credentials.issue(tenant, now=now, actor=ACTOR, description="make run")[1]


def operator_token(known: dict[str, str], now: datetime) -> str:
    try:
        tokens.authenticate(known.get("operator token", ""), now=now)
    except BadCredential:
        scopes = tokens.known_scopes(None)
        return tokens.issue(None, scopes=scopes, now=now, lifetime=timedelta(days=365), actor=ACTOR, description="make run")[1]
    return known["operator token"]
