"""What diagnosis writes down: a refused request, one row for all that are alike; a device's report of its own side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from placement import retention
from placement.diagnosis import reports
from placement.models import NetReport, Refusal
from tenants.errors import MalformedRequest
from tenants.models import Tenant
from tenants.signing import REGISTRATION_ID

MOST = 10_000  # refusals, and reports, of one tenant: more devices in trouble than anybody looks through one by one
MOST_OF_STRANGERS = 50_000  # refusals of all who have no credential of any tenant

NOTE = """
insert into placement_refusal as r
    (tenant_id, account, registration_id, address, code, reason, enrolment_key_id, hostname, os, times, first_at, last_at)
values (%(tenant)s, %(account)s, %(registration_id)s, %(address)s, %(code)s, %(reason)s, %(key)s, %(hostname)s, %(os)s, 1, %(now)s, %(now)s)
on conflict (tenant_id, account, registration_id, address, code) do update set
    times = r.times + 1, last_at = excluded.last_at, reason = excluded.reason, hostname = excluded.hostname, os = excluded.os,
    enrolment_key_id = excluded.enrolment_key_id
"""


@dataclass(frozen=True)
class Refused:
    """One refused request. `tenant_id` and `key_id` where the credential is known; `account` else is what the caller claims."""

    code: str
    reason: str
    account: str
    registration_id: str
    address: str
    hostname: str
    os: str
    tenant_id: UUID | None = None
    key_id: UUID | None = None


def note(refused: Refused, *, now: datetime) -> None:
    """One statement, whatever is known, so that its time tells nothing."""
    fields = {
        "tenant": refused.tenant_id,
        "account": refused.account,
        "registration_id": refused.registration_id,
        "address": refused.address[:45],
        "code": refused.code,
        "reason": refused.reason.replace("\0", "")[:300],
        "key": refused.key_id,
        "hostname": refused.hostname,
        "os": refused.os,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(NOTE, fields)


def report(tenant: Tenant, registration_id: str, told: Mapping[str, Any], *, by: str, now: datetime) -> NetReport:
    """The device's own side, the latest report alone. A used-up credential may report: the device that it let in is the one to help. Raises: MalformedRequest naming each field."""
    if not REGISTRATION_ID.match(registration_id):
        raise MalformedRequest({"registration_id": "1 to 128 letters, digits and . _ : -, the first one a letter or digit"})
    fields = {"at": now, "by": by[:120], "told": reports.clean(told)}
    stored, _made = NetReport.objects.across_tenants().update_or_create(
        tenant=tenant, registration_id=registration_id.lower(), defaults=fields
    )
    return stored


def forget(*, before: datetime) -> int:
    """Drop refusals and reports that nobody repeated since then. Returns how many."""
    refused = retention.drop_due(Refusal.objects.across_tenants(), "last_at", before=before)
    return refused + retention.drop_due(NetReport.objects.across_tenants(), "at", before=before)


def trim() -> int:
    """Drop what is more than may be kept, the longest ago first: ever-new names and addresses cost a caller nothing. Returns how many."""
    refusals = Refusal.objects.across_tenants()
    dropped = retention.trim(refusals.exclude(tenant=None), "tenant_id", "last_at", most=MOST)
    dropped += retention.trim(refusals.filter(tenant=None), "tenant_id", "last_at", most=MOST_OF_STRANGERS)
    return dropped + retention.trim(NetReport.objects.across_tenants(), "tenant_id", "at", most=MOST)
