"""Tenants, keys and requests for tests: plain functions over the service's own verbs."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from tenants import credentials, lifecycle, members, people
from tenants.models import EnrolmentKey, NetworkPolicy, Plan, PolicyVersion, Quota, Tenant

serial = itertools.count(1)


@dataclass(frozen=True)
class Customer:
    """A tenant with one enrolment key and its secret."""

    tenant: Tenant
    key: EnrolmentKey
    secret: str

    @property
    def account(self) -> str:
        return self.tenant.account

    def quota(self) -> Quota:
        return Quota.objects.get(tenant=self.tenant)


def plan(**fields: Any) -> Plan:
    fields = {"name": f"plan-{next(serial)}", "title": "A plan", "max_devices": 10, "expected_devices": 5, **fields}
    return Plan.objects.create(**fields)


def tenant(account: str = "", *, max_devices: int = 10, **plan_fields: Any) -> Tenant:
    chosen = plan(max_devices=max_devices, **plan_fields)
    return lifecycle.create(account or f"tenant-{next(serial)}", plan=chosen, now=timezone.now(), actor="system:tests")


def customer(account: str = "", *, max_devices: int = 10, plan_fields: dict[str, Any] | None = None, **key_fields: Any) -> Customer:
    made = tenant(account, max_devices=max_devices, **(plan_fields or {}))
    key, secret = enrolment_key(made, **key_fields)
    return Customer(made, key, secret)


def enrolment_key(of: Tenant, **fields: Any) -> tuple[EnrolmentKey, str]:
    fields = {"key_lifetime": timedelta(hours=1), **fields}
    return credentials.issue(of, now=timezone.now(), actor="system:tests", **fields)


def policy(of: Tenant, *tags: str, **sections: Any) -> None:
    """The tenant's network policy declares these tags from now on; `sections` are further parts of the document."""
    text = json.dumps({"tagOwners": {tag: [] for tag in tags}, **sections})
    number = PolicyVersion.objects.of(of).count() + 1
    version = PolicyVersion.objects.create(
        tenant=of, number=number, text=text, digest=str(number), author="system:tests", created_at=timezone.now()
    )
    NetworkPolicy.objects.across_tenants().update_or_create(tenant=of, defaults={"current": version})


def person(email: str = "", *, of: Tenant | None = None, role: str = "member", password: str = "") -> User:
    """Somebody with a verified address; a member of `of`, if named."""
    made = people.make(email or f"person-{next(serial)}@people.example", now=timezone.now(), actor="system:tests")
    if password:
        made.set_password(password)
        made.save()
    if of is not None:
        members.add(of, made, role, now=timezone.now(), actor="system:tests")
    return made
