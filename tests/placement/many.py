"""Many clusters at once, as rows alone: nothing runs on them."""

from __future__ import annotations

from tests.conftest import superuser

MAKE = """
insert into placement_cluster (cluster_id, fleet_id, state, region, service_class, residency, kind, client_url, admin_url, admin_key_sealed, metrics_url,
    capacity, committed, tenants, prefix_v4, prefix_v6, noise_public_key, version, registered_at)
select %(name)s || n, 'default', case when n %% 23 = 7 then 'cordoned' when n %% 41 = 11 then 'draining' else 'active' end, %(region)s, 'standard', '',
    'shared', 'http://x.test', 'http://127.0.0.1:9', '', 'http://127.0.0.1:9/metrics', c, floor(c * (0.2 + 0.55 * abs(sin(n * 1.7)))), 3 + n %% 40,
    '', '', '', '', now()
from generate_series(1, %(count)s) n, lateral (select (array[500, 500, 1000, 2000])[1 + n %% 4] as c) sizes
"""
ADDRESSES = """
insert into headscale.prefix (cluster_id, prefix)
select %(name)s || n, set_masklen('10.0.0.0'::inet + 256 * (n + (select count(*) from headscale.prefix)), 24)::cidr from generate_series(1, %(count)s) n
"""
HEAT = """
insert into placement_heat (cluster_id, at, attempted_at, failures, cpu_seconds, peer_buckets, cpu, sessions, sessions_smooth, queue, peer_seconds,
    memory, measured, breaker_open, above)
select cluster_id, now() - case when n %% 29 = 3 then interval '40 seconds' else interval '4 seconds' end, now(), 0, 100, '{}', 0.3,
    floor(committed * 0.8), committed * 0.8, 2.5, 0.04, 200000000, 0.15 + 0.6 * abs(cos(n * 2.3)) + case when n %% 37 = 5 then 0.5 else 0 end,
    n %% 37 = 5, 0
from (select cluster_id, committed, substr(cluster_id, length(%(name)s) + 1)::int as n from placement_cluster where cluster_id ~ ('^' || %(name)s || '[0-9]+$')) made
"""


def make(count: int, *, name: str, region: str, heat: bool = True) -> list[str]:
    """Committed: for tests that wipe the tables afterwards. Returns their ids."""
    facts = {"count": count, "name": name, "region": region}
    with superuser() as connection:
        connection.execute(MAKE, facts)
        connection.execute(ADDRESSES, facts)
        if heat:
            connection.execute(HEAT, facts)
    return [f"{name}{n}" for n in range(1, count + 1)]
