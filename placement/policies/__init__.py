"""Tenants' network policies made into what a headscale server runs: compiled, proven, pushed and audited.

Pure: `facts`, `resolving`, `compiling`, `cost`, `reach`, `proof`. The others know the database and servers.
"""
