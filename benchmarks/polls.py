"""One whole poll as it is recorded once the server has answered: devices, logins, routes, grants, slots, load's peaks, online time. Two percent change."""

from __future__ import annotations

import resource
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.report import Report
from benchmarks.services import Services

if TYPE_CHECKING:
    from placement.devices import Sighting

EVERY = timedelta(seconds=30)
MOST_SECONDS = 30
# What each device came by: a slot with its registration id, and the grant whose key it used. And where its tenant lives.
FILL = (
    """create temporary table made as select d.id, d.tenant_id, d.node_id, gen_random_uuid() as slot, gen_random_uuid() as granted
       from placement_device d where d.cluster_id = %(cluster)s""",
    """insert into placement_slot (id, tenant_id, registration_id, taken_at, proven)
       select slot, tenant_id, %(cluster)s || '-' || node_id, %(since)s, false from made""",
    """insert into placement_grant (id, tenant_id, cluster_id, slot_id, enrolment_key_id, state, request_digest, hostname, os, keyring_id, key_prefix,
           key_id, answer_sealed, created_at, expires_at, issued_at, redeemed_at, settled_at)
       select granted, m.tenant_id, %(cluster)s, slot, (select k.id from tenants_enrolmentkey k limit 1), 'redeemed', '',
           '', '', 'b1', 'x', node_id, '', %(since)s, %(since)s, %(since)s, %(since)s, %(since)s from made m""",
    """update placement_device d set slot_id = slot, grant_id = granted, ipv4 = '100.64.0.0'::inet + d.node_id, ipv6 = 'fd7a:115c:a1e0::'::inet + d.node_id
       from made m where m.id = d.id""",
    """insert into placement_binding (tenant_id, cluster_id, headscale_user_id, expected_load, rules, reason, created_at)
       select id, %(cluster)s, row_number() over (), 5, 0, 'bench', %(since)s from tenants_tenant
       on conflict (tenant_id) do update set cluster_id = excluded.cluster_id""",
    "insert into placement_watch (cluster_id, nodes, failures) values (%(cluster)s, 0, 0)",
    "drop table made",
)


def shown(size: int, at: datetime, since: datetime, accounts: tuple[str, ...], swapped: int) -> list[Sighting]:
    """What a server of so many nodes shows at a moment: up to nine of ten are online, `swapped` of them have left, as many have come."""
    from placement.devices import Sighting

    last, gone, nodes = size * 9 // 10, at - timedelta(seconds=10), []
    for n in range(1, size + 1):
        online = swapped < n <= last + swapped
        high, low = divmod(n, 65536)
        address = (
            f"fd7a:115c:a1e0::{high:x}:{low:x}" if high and low else f"fd7a:115c:a1e0::{low:x}" if low else f"fd7a:115c:a1e0::{high:x}:0"
        )
        nodes.append(Sighting(
            node_id=n, account=accounts[n % len(accounts)], key_id=n, machine_key=f"mkey:{n}", node_key=f"nodekey:{n}",
            ipv4=f"100.{64 + high}.{low // 256}.{low % 256}", ipv6=address, hostname="host", name=f"host-{n}", tags=(), ephemeral=False,
            joined_at=since, last_seen=None if online else gone, key_expires_at=None, online=online,
        ))  # fmt: skip
    return nodes


def fill(made: Services, cluster_id: str, since: datetime) -> tuple[str, ...]:
    """Give the cluster's devices what a poll looks at. Returns the accounts of their tenants in the order of the devices."""
    facts = {"cluster": cluster_id, "since": since}
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as owner:
        for statement in FILL:
            owner.execute(statement.encode(), facts if "%(" in statement else None)
        accounts = owner.execute("select account from tenants_tenant order by id").fetchall()
    with psycopg.connect(made.postgres.url("acs", "acs_owner"), autocommit=True) as owner:
        owner.execute("vacuum analyze")
    return tuple(account for (account,) in accounts)


def whole_polls(report: Report, made: Services, cluster_id: str, begun: datetime, size: int) -> None:
    """Three polls in a row, the last one with transitions."""
    accounts = fill(made, cluster_id, begun)
    name = f"{size:,} devices"
    for number, (told, swapped) in enumerate(
        (("nine of ten come online", 0), ("without transitions", 0), ("two percent of transitions", size // 100))
    ):
        at = begun + number * EVERY
        nodes = shown(size, at, begun, accounts, swapped)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, statements, written = record(made, cluster_id, nodes, at)
        most = {"at_most": MOST_SECONDS} if number else {}
        report.add(f"{name}: a whole poll, {told}", seconds, "s", **most)
        report.add("  statements", statements, "count")
        report.add("  written to the log", written / 2**20, "MiB")
    report.add(
        "  memory that it needed more than the one before", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, "MiB"
    )


def record(made: Services, cluster_id: str, nodes: list[Sighting], at: datetime) -> tuple[float, int, int]:
    """Seconds, statements, bytes of WAL."""
    from django.db import connection

    from acs import poll
    from placement.models import Cluster

    cluster = Cluster.objects.select_related("fleet").get(pk=cluster_id)
    routes = dict.fromkeys(range(1, len(nodes) + 1), ((), ()))
    statements = 0

    def count(execute: Any, *asked: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*asked)

    with psycopg.connect(made.postgres.url("acs", "acs_owner"), autocommit=True) as owner:
        position = owner.execute("select pg_current_wal_lsn()").fetchone()
        begun = time.perf_counter()
        with connection.execute_wrapper(count):
            run = poll.record(cluster, poll.Observation(at, nodes, {}, None, routes), seconds=0, now=at)
        seconds = time.perf_counter() - begun
        written = owner.execute("select pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)::bigint", position).fetchone()
    assert run is not None
    assert written is not None
    return seconds, statements + 2, int(written[0])  # and two COPYs
