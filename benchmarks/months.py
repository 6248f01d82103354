"""The close of a month of many tenants: each with a subscription, ten devices and ten days of use."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import psycopg

from benchmarks.report import Report
from benchmarks.services import Services, add_cluster

WORKERS = 2
DEVICES, DAYS = 10, 10
SELLER = json.dumps({"name": "Bench", "address": "Ring 1", "country": "DE", "tax_id": "DE136695976"})
PRICES = (
    ("base", "flat", "29.00", "--charged", "advance"),
    ("devices", "active_device", "--included", "5", "--tier", "100:1.50", "--tier", ":1.00"),
    ("hours", "device_hours", "0.002", "--included", "100"),
)
TENANTS = (
    """insert into tenants_tenant (id, account, title, plan_id, residency, state, created_at)
       select gen_random_uuid(), 'month-' || n, '', 'months', '', 'active', %(start)s from generate_series(1, %(count)s) n""",
    """insert into billing_billingaccount (tenant_id, name, address, country, email, currency, tax_id, tax_treatment, language)
       select id, account, '', 'DE', 'books@example.com', 'EUR', '', 'standard', 'en' from tenants_tenant where plan_id = 'months'""",
    "insert into billing_subscription (tenant_id, started_at) select id, %(start)s from tenants_tenant where plan_id = 'months'",
    """insert into billing_subscriptionphase (subscription_id, version_id, currency, during, anchor)
       select s.id, v.id, 'EUR', tstzrange(%(start)s, null), %(start)s from billing_subscription s, billing_planversion v where v.plan_id = 'months'""",
    """insert into placement_stay (tenant_id, cluster_id, since, changed_at)
       select id, 'months', %(start)s, %(start)s from tenants_tenant where plan_id = 'months'""",
    "insert into billing_meter (cluster_id, last_ok, stays_seen_at) values ('months', now(), now())",
    "select billing_make_months(%(start)s::date, %(start)s::date)",
    """insert into billing_deviceday (day, device_id, tenant_id, cluster_id, seconds)
       select %(start)s::date + day, gen_random_uuid(), t.id, 'months', 40000 from tenants_tenant t, generate_series(0, %(days)s - 1) day,
       generate_series(1, %(devices)s) where t.plan_id = 'months'""",
)


def close_of_a_month(report: Report, made: Services, tenants: int) -> None:
    """Django is set up, as the worker, with ACS_SELLER."""
    from django.utils import timezone

    from billing import closing
    from billing.rating.cycles import month_of, months_after

    period = month_of(months_after(datetime.now(UTC), -1))
    fill(made, period.start, tenants)
    begun = time.perf_counter()
    done = closing.close(period, now=timezone.now(), actor="system:bench", workers=WORKERS)
    seconds = time.perf_counter() - begun
    name = f"close of a month of {tenants:,} tenants, {WORKERS} workers"
    report.add(name, seconds, "s", at_most=300)
    report.add("  invoices", done.invoiced, "count", at_least=tenants)
    report.add("  an invoice of one worker", seconds * WORKERS / max(done.invoiced, 1) * 1000, "ms")
    begun = time.perf_counter()
    closing.close(period, now=timezone.now(), actor="system:bench", workers=WORKERS)
    report.add("  closed again, with nothing left to do", time.perf_counter() - begun, "s")


def fill(made: Services, start: datetime, tenants: int) -> None:
    made.manage("plan", "create", "months", "--title", "Months", "--max-devices", "1000")
    made.manage("pricing", "draft", "months", "--valid-from", "2020-01-01")
    for price in PRICES:
        made.manage("pricing", "price", "months/1", *price, "--currency", "EUR")
    made.manage("pricing", "publish", "months/1")
    made.manage("pricing", "tax", "DE", "19", "--valid-from", "2007-01-01")
    add_cluster(made, "months")
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as owner:
        for statement in TENANTS:
            facts = {"start": start, "count": tenants, "days": DAYS, "devices": DEVICES}
            owner.execute(statement, facts)
    with psycopg.connect(made.postgres.url("acs", "acs_owner"), autocommit=True) as owner:
        owner.execute("vacuum analyze")
