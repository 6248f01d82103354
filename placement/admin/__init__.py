"""The operators' pages of clusters, of who lives where and why, of promised keys and devices, and of what servers reported."""

from placement.admin import clusters, diagnosis, engine, living, logins, peerings, plans, regions, reports, routes, stock

__all__ = ["clusters", "diagnosis", "engine", "living", "logins", "peerings", "plans", "regions", "reports", "routes", "stock"]
