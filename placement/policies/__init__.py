"""Tenants' network policies made into what a headscale server runs: compiled, proven, pushed and audited.

Pure: `facts`, `resolving`, `compiling`, `cost`, `sizes`, `rendering`, `spans`, `reach`, `matrix`, `explaining`, `trials`, `advice`,
`proof`. The others know the database and servers.
"""
