"""The fleet database: several unmodified headscale servers on one PostgreSQL schema, every row owned by a cluster.

headscale knows nothing of it. Each server logs in under a role of its own, hs_<cluster_id>; PostgreSQL's row security shows it its own
rows and lets it write no other. ACS reads and writes the same tables with roles of its own, and hears of changes through an outbox.

    fleets.py     init and upgrade, the verbs of `manage.py fleet`        schema.py     headscale's tables and what is added, from sql/
    clusters.py   add-cluster                                             catalogue.py  what PostgreSQL says the schema is
    roles.py      who may log in                                          grants.py     who may do what with ACS's own tables
    binary.py     run headscale once, to make or upgrade its tables       connect.py    the owner's connection, a fleet elsewhere
    prefixes.py   the next free addresses                                 noise.py      the key that all servers of a fleet share
    config.py     a server's configuration files                          admin_keys.py an admin API key without a call
    check.py, probe.py  the proof that no cluster reads or writes another's rows
"""
