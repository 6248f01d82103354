"""A stand-in for a headscale server, where no binary is: the same admin API (as 0.29.2 speaks it), /health, /version, /key and
metrics, over the same tables, on the fleet schema or on an SQLite file of its own. It reads headscale's configuration file.

It does not speak to real clients (no Noise): simulated devices join through a door of its own, /simulator/..., see device.py.
The contract tests hold it against real headscale; where the two differ, this package is wrong.
"""

IMITATES = "v0.29.2"
