"""Placements over a hard cap when eight processes place tenants at once, against a real PostgreSQL: there must be none, and no room left unused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import psycopg

from benchmarks.report import Report, arguments
from benchmarks.services import ROOT, Services, services

PROCESSES, CLUSTERS, CAPACITY, TENANTS, LOAD = (
    8,
    20,
    100,
    480,
    5,
)  # a cluster may promise 85 devices, so 17 tenants: 340 of the 480 find a place


def prepare(made: Services) -> None:
    with psycopg.connect(made.postgres.url("acs", "postgres"), autocommit=True) as database:
        database.execute(
            """insert into placement_cluster (cluster_id, fleet_id, state, region, kind, client_url, admin_url, admin_key_sealed, metrics_url, capacity,
                 committed, prefix_v4, prefix_v6, noise_public_key, version, registered_at)
               select 'c' || n, 'default', 'active', 'eu', 'shared', 'http://c', '', '', '', %s, 0, '', '', '', '', now()
               from generate_series(1, %s) n""",
            [CAPACITY, CLUSTERS],
        )
        database.execute(
            "insert into headscale.prefix (cluster_id, prefix) select 'c' || n, format('10.%%s.0.0/16', n)::cidr from generate_series(1, %s) n",
            [CLUSTERS],
        )
        database.execute(
            """insert into tenants_plan (name, title, max_devices, expected_devices, regions, default_region, strategy)
               values ('bench', '', 10, %s, '{}', 'eu', 'shared')""",
            [LOAD],
        )
        database.execute(
            """insert into tenants_tenant (id, account, title, plan_id, state, created_at)
               select gen_random_uuid(), 't' || n, '', 'bench', 'active', now() from generate_series(1, %s) n""",
            [TENANTS],
        )


def settle(number: int) -> None:
    """What each of the processes does: its share of the tenants, and of the others' too."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "acs.settings"
    import django

    django.setup()
    from django.utils import timezone

    from placement import bindings
    from placement.engine.regions import Wish
    from placement.errors import NoClusterAvailable
    from tenants.models import Tenant

    tenants = list(Tenant.objects.select_related("plan").order_by("id"))
    sys.stdin.readline()  # all at once
    for tenant in [*tenants[number::PROCESSES], *tenants[(number + 1) % PROCESSES :: PROCESSES][:10]]:
        try:
            bindings.settle(tenant, wish=Wish(), now=timezone.now())
        except NoClusterAvailable:
            continue


def caps(report: Report, quick: bool) -> None:  # noqa: ARG001 - every row's signature
    with services() as made:
        prepare(made)
        command: Sequence[str] = [sys.executable, "-m", "benchmarks.caps"]
        children = [
            subprocess.Popen([*command, str(number)], cwd=ROOT, env=made.environment("web"), stdin=subprocess.PIPE, text=True)
            for number in range(PROCESSES)
        ]
        time.sleep(8)
        begun = time.perf_counter()
        for child in children:
            child.communicate("go\n")
        taken = time.perf_counter() - begun
        if any(child.returncode for child in children):
            raise SystemExit("a process of the benchmark failed")
        with psycopg.connect(made.postgres.url("acs", "acs_owner")) as owner:
            over, wrong, placed = owner.execute(
                "select count(*) filter (where committed > capacity * 85 / 100), count(*) filter (where committed <>"
                " (select coalesce(sum(expected_load), 0) from placement_binding b where b.cluster_id = c.cluster_id)), sum(tenants) from placement_cluster c"
            ).fetchone() or (0, 0, 0)
        report.add("clusters over their hard cap, 8 processes at once", over, "clusters", at_most=0)
        report.add("clusters whose ledger differs from their bindings", wrong, "clusters", at_most=0)
        report.add("tenants placed of 340 that fit", int(placed), "tenants", at_least=CLUSTERS * (CAPACITY * 85 // 100 // LOAD))
        report.add("first contacts placed or refused, 8 processes at once", (TENANTS + 10 * PROCESSES) / taken, "1/s")


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1].isdigit():
        settle(int(sys.argv[1]))
        return
    options = arguments(__doc__ or "")
    report = Report(options.json)
    caps(report, options.quick)
    report.close()


if __name__ == "__main__":
    main()
