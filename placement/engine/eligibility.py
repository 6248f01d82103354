"""Which clusters may take a newcomer: one small function per rule, its name is its reason, and `RULES` names them all in the order in which they are asked.

A rule says whether it agrees. What is forgiven when samples are missing: `pool.blind`, more than half of them are stale, leaves the ledger alone to decide.
"""

# ruff: noqa: ARG001 - every rule is asked in the same words, and heeds what it needs
from __future__ import annotations

from placement.engine.facts import INELIGIBLE_AFTER, ClusterFacts, Newcomer, Pool
from placement.engine.ledger import cap
from placement.engine.ring import weight_of

LARGEST_PART = 20  # a tenant that takes more than one in so many of a cluster's devices is beyond what any method balances


def is_active(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return cluster.state == "active"


def is_of_kind(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return cluster.kind == newcomer.kind


def serves_the_class(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return cluster.service_class == newcomer.service_class


def keeps_residency(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return newcomer.residency in ("", cluster.residency)


def is_nobody_elses(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return cluster.kind != "dedicated" or (cluster.reserved_for in ("", newcomer.tenant_id) and cluster.tenants == 0)


def is_large_enough(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    if LARGEST_PART * newcomer.load <= cluster.capacity or cluster.kind == "dedicated":
        return True
    # by class, not to the device: of five clusters of about one size the one that counts a device more shall not get all the large tenants
    return LARGEST_PART * newcomer.load > pool.largest and weight_of(cluster.capacity) >= weight_of(pool.largest)


def has_room_for(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return cluster.committed + newcomer.load <= cap(cluster.capacity, cluster.kind)


def has_place_for_a_tenant(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return cluster.max_tenants is None or cluster.tenants < cluster.max_tenants


def has_sessions_left(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return 10 * cluster.sessions <= 9 * cluster.max_sessions or pool.blind or cluster.is_stale


def breaker_is_closed(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    # Heeded in a blind pool too. A breaker is no sample but a verdict on two of them, and only measured calm closes it: that nobody can see
    # the server any more is no calm, overloaded servers are often why a pool is blind. It compares no cluster with another, so it herds nobody.
    return not cluster.breaker_open


def was_heard_from(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> bool:
    return pool.blind or cluster.age is None or cluster.age <= INELIGIBLE_AFTER


RULES = (
    is_active,
    is_of_kind,
    serves_the_class,
    keeps_residency,
    is_nobody_elses,
    is_large_enough,
    has_room_for,
    has_place_for_a_tenant,
    has_sessions_left,
    breaker_is_closed,
    was_heard_from,
)


def objection(newcomer: Newcomer, cluster: ClusterFacts, pool: Pool) -> str:
    """The name of the first rule that says no, or nothing."""
    for rule in RULES:
        if not rule(newcomer, cluster, pool):
            return rule.__name__
    return ""
