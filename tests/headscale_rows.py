"""Devices written straight into the SQLite file of a stopped headscale server, which reads them at its next start: many, without clients."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from placement.policies.facts import EXIT, ClusterFact, DeviceFact

NODE = """
insert into nodes (machine_key, node_key, disco_key, endpoints, host_info, ipv4, ipv6, hostname, given_name, user_id, register_method, tags,
    approved_routes, created_at, updated_at)
values (?, ?, ?, '[]', ?, ?, ?, ?, ?, ?, 'authkey', ?, ?, datetime('now'), datetime('now'))
"""


def write(folder: Path, cluster: ClusterFact) -> None:
    """Users and nodes of a cluster's facts into the server's file. A run before has made the tables."""
    with sqlite3.connect(folder / "db.sqlite", timeout=10) as file:
        number = 0
        for tenant in cluster.tenants:
            made = file.execute(
                "insert into users (name, provider, created_at, updated_at) values (?, '', datetime('now'), datetime('now'))",
                [tenant.account],
            )
            for device in tenant.devices:
                number += 1
                file.execute(NODE, _node(device, made.lastrowid, number))
    file.close()


def _node(device: DeviceFact, user_id: int | None, number: int) -> list[object]:
    routes = [str(route) for route in (*device.routes, *(EXIT if device.exit else ()))]
    ipv4, ipv6 = ([str(ip.network_address) for ip in device.addresses if ip.version == version] for version in (4, 6))
    key = f"{number:064x}"
    return [
        f"mkey:{key}",
        f"nodekey:{key}",
        f"discokey:{key}",
        json.dumps({"Hostname": device.hostname, "RoutableIPs": routes}),
        *(ipv4[:1] or [None]),
        *(ipv6[:1] or [None]),
        device.hostname,
        device.name,
        None if device.tags else user_id,
        json.dumps(list(device.tags)),
        json.dumps(routes),
    ]
