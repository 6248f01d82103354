"""Polls of ten thousand, a hundred thousand and a million devices with two percent of transitions, whole and of online time alone, the sums made of them, how
storage grows; the close of a month."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

from benchmarks.months import SELLER, close_of_a_month
from benchmarks.polls import whole_polls
from benchmarks.report import Report, arguments
from benchmarks.services import Services, add_cluster, services

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (10_000, 50_000)
TENANTS = 4
SESSIONS_A_DAY = 4  # of a device: a laptop that is opened twice and carried once, a phone that sleeps
EVERY = timedelta(seconds=30)
DEVICES = """
insert into placement_device (id, tenant_id, cluster_id, node_id, machine_key, node_key, hostname, name, tags, ephemeral, online, joined_at, seen_at, unexpected)
select gen_random_uuid(), t.id, %(cluster)s, n, 'mkey:' || n, 'nodekey:' || n, 'host', 'host-' || n, '{}', false, false, %(since)s, %(since)s, ''
from generate_series(1, %(size)s) n join (select id, row_number() over (order by id) - 1 as number from tenants_tenant) t on t.number = n %% %(tenants)s"""


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report(options.json)
    with services() as made:
        made.manage("plan", "create", "bench", "--title", "Bench", "--max-devices", "1000000")
        for number in range(TENANTS):
            made.manage("tenant", "create", f"bench-{number}", "--plan", "bench")
        made.manage("enrolment_key", "issue", "bench-0")
        os.environ.update(made.environment("worker"), DJANGO_SETTINGS_MODULE="acs.settings", ACS_SELLER=SELLER, ACS_BILLING_MAIL="true")
        import django

        django.setup()
        for size in QUICK_SIZES if options.quick else SIZES:
            measure(report, made, size)
        close_of_a_month(report, made, 200 if options.quick else 10_000)
    report.close()


def measure(report: Report, made: Services, size: int) -> None:
    cluster_id, begun = f"bench{size}", datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) - timedelta(days=1)
    add_cluster(made, cluster_id)
    facts = {"cluster": cluster_id, "size": size, "tenants": TENANTS, "since": begun}
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as owner:
        owner.execute(DEVICES, facts)
        owner.execute("delete from placement_stay")
        owner.execute(
            "insert into placement_stay (tenant_id, cluster_id, since, changed_at) select id, %(cluster)s, %(since)s, now() from tenants_tenant",
            facts,
        )
    with psycopg.connect(made.postgres.url("acs", "acs_owner"), autocommit=True) as owner:
        owner.execute("vacuum analyze")
    name = f"{size:,} devices"
    seconds, *_ = one_poll(made, cluster_id, begun, size, 0)
    report.add(f"{name}: online time of the first poll, nine of ten come", seconds, "s")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, statements, written, _ = one_poll(made, cluster_id, begun + EVERY, size, 0)
    report.add(f"{name}: online time of a poll without transitions", seconds, "s")
    report.add("  written to the log", written / 2**20, "MiB")
    seconds, statements, written, changed = one_poll(made, cluster_id, begun + 2 * EVERY, size, size // 100)
    report.add(f"{name}: online time of a poll, two percent of transitions", seconds, "s", at_most=30)
    report.add("  transitions", changed, "count", at_least=size // 50)
    report.add("  statements", statements, "count")
    report.add("  written to the log", written / 2**20, "MiB")
    report.add(
        "  memory that it needed more than the one before", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, "MiB"
    )
    whole_polls(report, made, cluster_id, begun + 3 * EVERY, size)
    sums(report, cluster_id, name)
    storage(report, made)


def one_poll(made: Services, cluster_id: str, at: datetime, size: int, swapped: int) -> tuple[float, int, int, int]:
    """Seconds, statements, bytes of WAL, transitions. Nodes up to 90 % are online; `swapped` of them leave, as many others come."""
    from django.db import connection, transaction

    from billing.metering import taking

    def samples() -> Iterator[taking.Sample]:
        last = size * 9 // 10
        for node in range(1, size + 1):
            online = node <= last + swapped and node > swapped
            yield taking.Sample(node, online, at - timedelta(seconds=10) if not online else None)

    statements = 0

    def count(execute: object, *asked: object) -> object:
        nonlocal statements
        statements += 1
        return execute(*asked)  # type: ignore[operator]

    with psycopg.connect(made.postgres.url("acs", "acs_owner"), autocommit=True) as owner:
        position = owner.execute("select pg_current_wal_lsn()").fetchone()
        begun = time.perf_counter()
        with connection.execute_wrapper(count), transaction.atomic():
            taken = taking.take(taking.Poll(cluster_id, at, samples()))
        seconds = time.perf_counter() - begun
        written = owner.execute("select pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)::bigint", position).fetchone()
    assert taken is not None
    assert written is not None
    return seconds, statements + 1, int(written[0]), taken.opened + taken.closed  # and the COPY


def sums(report: Report, cluster_id: str, name: str) -> None:
    from django.utils import timezone

    from billing.metering import rolling

    begun = time.perf_counter()
    days = rolling.roll(now=timezone.now(), cluster_id=cluster_id)
    report.add(f"{name}: their sums, {days} days", time.perf_counter() - begun, "s")


def storage(report: Report, made: Services) -> None:
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as owner:
        sizes = owner.execute(
            """select coalesce(sum(pg_total_relation_size(c.oid)) filter (where c.relname like 'billing\\_session\\_%'), 0)::bigint,
                coalesce(sum(pg_total_relation_size(c.oid)) filter (where c.relname like 'billing\\_deviceday\\_%'), 0)::bigint,
                (select count(*) from billing_session), (select count(*) from billing_deviceday) from pg_class c where c.relkind = 'r'"""
        ).fetchone()
    assert sizes is not None
    sessions, days, rows, device_days = sizes
    a_session, a_day = sessions / max(rows, 1), days / max(device_days, 1)
    report.add("  a session", a_session, "bytes")
    report.add("  a device's day", a_day, "bytes")
    report.add(f"  a device's month, {SESSIONS_A_DAY} sessions a day", 30 * (SESSIONS_A_DAY * a_session + a_day) / 1024, "KiB")


if __name__ == "__main__":
    main()
