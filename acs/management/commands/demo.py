"""`manage.py demo`: the sample data of `make run`, made once: a plan, a tenant, an enrolment key, an operator's login and token."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from tenants import credentials, lifecycle, tokens
from tenants.models import Plan, Tenant

ACTOR = "system:demo"


class Command(BaseCommand):
    help = "Make the sample data that is missing; prints what can only be told once as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", default="acme-inc")
        parser.add_argument("--admin-password", required=True)
        parser.add_argument("--new-secrets", action="store_true", help="issue an enrolment key and an operator's token")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        now, told = timezone.now(), {}
        plan, _ = Plan.objects.get_or_create(name="team", defaults={"title": "Team", "max_devices": 100, "expected_devices": 10})
        tenant = Tenant.objects.filter(account=options["account"]).first()
        tenant = tenant or lifecycle.create(options["account"], plan=plan, now=now, actor=ACTOR, title="Acme Inc.")
        if options["new_secrets"]:
            _, told["enrolment key"] = credentials.issue(tenant, now=now, actor=ACTOR, description="make run")
            scopes = [scope for scope in tokens.known_scopes(None) if not scope.endswith(":read")]
            _, told["operator token"] = tokens.issue(
                None, scopes=scopes, now=now, lifetime=timedelta(days=365), actor=ACTOR, description="make run"
            )
        admin, is_new = User.objects.get_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
        if is_new:
            admin.set_password(options["admin_password"])
            admin.save()
        self.stdout.write(json.dumps(told))
