"""A credential's hint at a cluster: followed where the rules allow it, forgotten where they do not."""

from __future__ import annotations

from dataclasses import replace

from placement.engine.eligibility import objection
from placement.engine.facts import Decision, Newcomer, Pool


def hinted(decision: Decision, newcomer: Newcomer, pool: Pool, hint: str) -> Decision:
    """The decision with the hinted cluster first, if it is one of the pool's and every rule agrees; else the decision as it was."""
    cluster = pool.clusters.get(hint) if hint else None
    if cluster is None or objection(newcomer, cluster, pool):
        return decision
    weighed = decision.weighed
    if all(known.cluster_id != hint for known in weighed):
        weighed = (*weighed, cluster.weigh(newcomer.load, pool.blind))
    others = tuple(cluster_id for cluster_id in decision.ranked if cluster_id != hint)
    return replace(decision, ranked=(hint, *others), weighed=weighed, reason="the credential's hint")
