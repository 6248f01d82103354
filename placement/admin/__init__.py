"""The operators' pages of clusters, of who lives where and why, of promised keys and devices, of network policies, and of what servers reported."""

from placement.admin import (
    clusters,
    diagnosis,
    engine,
    living,
    logins,
    netpolicies,
    peerings,
    plans,
    policies,
    regions,
    reports,
    routes,
    stays,
    stock,
)

__all__ = [
    "clusters",
    "diagnosis",
    "engine",
    "living",
    "logins",
    "netpolicies",
    "peerings",
    "plans",
    "policies",
    "regions",
    "reports",
    "routes",
    "stays",
    "stock",
]
from placement.admin import findings

__all__ = ["clusters", "diagnosis", "engine", "findings", "living", "logins", "plans", "policies", "regions", "reports", "routes", "stock"]
