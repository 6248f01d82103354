"""The operators' pages of clusters, of who lives where and why, of promised keys and devices, and of what servers reported."""

from placement.admin import clusters, diagnosis, engine, findings, living, logins, plans, policies, regions, reports, routes, stock

__all__ = ["clusters", "diagnosis", "engine", "findings", "living", "logins", "plans", "policies", "regions", "reports", "routes", "stock"]
