"""Small worlds for the engine's tests: clusters and pools in one line, and hypothesis' random ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from hypothesis import strategies as st

from placement.engine.facts import ClusterFacts, Newcomer, Pool, PoolKey
from placement.engine.ring import Ring, weight_of

KEY = PoolKey("eu", "standard")


def tenant_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def newcomer(number: int = 1, *, load: int = 10, **facts: object) -> Newcomer:
    return Newcomer(tenant_id(number), load, **facts)


def pool_of(clusters: Iterable[ClusterFacts]) -> Pool:
    """Every cluster in the ring, whatever its state: the rules decide, not the ring."""
    known = list(clusters)
    return Pool.of(KEY, Ring.build({cluster.cluster_id: weight_of(cluster.capacity) for cluster in known}), known)


def alike(count: int, **facts: object) -> list[ClusterFacts]:
    return [ClusterFacts(f"eu{number}", **{"committed": 100, **facts}) for number in range(count)]


def names() -> st.SearchStrategy[str]:
    return st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)


def memberships(smallest: int = 0) -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(names(), st.integers(1, 8), min_size=smallest, max_size=12)


tenant_ids = st.uuids().map(str)
newcomers = st.builds(
    Newcomer,
    tenant_ids,
    st.integers(0, 200),
    service_class=st.sampled_from(["standard", "standard", "premium"]),
    residency=st.sampled_from(["", "", "de"]),
    kind=st.sampled_from(["shared", "shared", "shared", "dedicated"]),
)


def some_clusters() -> st.SearchStrategy[list[ClusterFacts]]:
    """Anything that the database could tell, healthy ones more often than not."""
    cluster = st.builds(
        ClusterFacts,
        names(),
        service_class=st.sampled_from(["standard", "standard", "standard", "premium"]),
        residency=st.sampled_from(["", "de"]),
        kind=st.sampled_from(["shared", "shared", "shared", "dedicated"]),
        state=st.sampled_from(["active", "active", "active", "cordoned", "draining", "offline"]),
        capacity=st.integers(0, 5000),
        committed=st.integers(0, 3000),
        tenants=st.integers(0, 20),
        max_tenants=st.none() | st.integers(1, 30),
        sessions=st.integers(0, 600),
        max_sessions=st.integers(0, 5000),
        measured=st.none() | st.floats(0, 1.5),
        age=st.none() | st.floats(0, 7),
        breaker_open=st.sampled_from([False, False, False, True]),
        reserved_for=st.just(""),
        promised_since=st.integers(0, 50),
    )
    return st.lists(cluster, max_size=25, unique_by=lambda one: one.cluster_id)
