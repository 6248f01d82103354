"""A headscale server's files: its configuration, the Noise key of its fleet, its own copy of the DERP map."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from psycopg.conninfo import conninfo_to_dict

Map = dict[str, Any]
LOOPBACK_MAP: Map = {
    "regions": {
        900: {
            "regionid": 900,
            "regioncode": "local",
            "regionname": "Local",
            "nodes": [{"name": "900a", "regionid": 900, "hostname": "127.0.0.1", "ipv4": "127.0.0.1", "stunport": -1, "derpport": 33401}],
        }
    }
}


@dataclass(frozen=True)
class Plan:
    """What one server is told. `batch_timeout` is how long it gathers changes before it computes who sees whom."""

    server_url: str
    listen: str
    metrics_listen: str
    grpc_listen: str
    base_domain: str
    prefix_v4: str
    prefix_v6: str
    conninfo: str
    policy_mode: str = "database"
    batch_timeout: str = ""


def write(folder: Path, plan: Plan, *, noise_key: str, derp_map: Map) -> list[Path]:
    """Write config.yaml, noise_private.key (both 0600: they hold secrets) and derp.yaml. Returns the files that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "config.yaml": yaml.safe_dump(settings_of(folder.resolve(), plan), sort_keys=False),
        "noise_private.key": noise_key,
        "derp.yaml": yaml.safe_dump(derp_map, sort_keys=False),
    }
    return [folder / name for name, text in pages.items() if _write(folder / name, text)]


def settings_of(folder: Path, plan: Plan) -> dict[str, Any]:
    """The configuration as headscale reads it."""
    tuning = {"tuning": {"node_store_batch_timeout": plan.batch_timeout}} if plan.batch_timeout else {}
    return {
        "server_url": plan.server_url,
        "listen_addr": plan.listen,
        "metrics_listen_addr": plan.metrics_listen,
        "grpc_listen_addr": plan.grpc_listen,
        "noise": {"private_key_path": str(folder / "noise_private.key")},
        # random: a sequential server that was restarted would hand out an address whose device moved away
        "prefixes": {"v4": plan.prefix_v4, "v6": plan.prefix_v6, "allocation": "random"},
        "derp": {"server": {"enabled": False}, "urls": [], "paths": [str(folder / "derp.yaml")], "auto_update_enabled": False},
        "disable_check_updates": True,
        "database": database_of(plan.conninfo),
        "policy": {"mode": plan.policy_mode},
        "dns": {"magic_dns": True, "base_domain": plan.base_domain, "override_local_dns": False, "nameservers": {"global": []}},
        "unix_socket": _socket(folder),
        "unix_socket_permission": "0700",
        "logtail": {"enabled": False},
        "log": {"level": "info", "format": "json"},
        **tuning,
    }


def database_of(conninfo: str) -> dict[str, Any]:
    """A connection string in headscale's words. Over a Unix socket `host` is the socket's folder."""
    words = conninfo_to_dict(conninfo)
    return {
        "type": "postgres",
        "postgres": {
            "host": str(words.get("host") or "127.0.0.1"),
            "port": int(words.get("port") or 5432),
            "name": str(words.get("dbname") or ""),
            "user": str(words.get("user") or ""),
            "pass": str(words.get("password") or ""),
            "ssl": _ssl(str(words.get("sslmode") or "")),
        },
    }


def _socket(folder: Path) -> str:
    """Paths of sockets end at 107 bytes; in a deeper folder the server must be started from there."""
    path = str(folder / "headscale.sock")
    return path if len(os.fsencode(path)) < 100 else "headscale.sock"


def _ssl(mode: str) -> bool | str:
    """headscale takes a truth value or, as text, one of libpq's modes."""
    return mode if mode in ("verify-ca", "verify-full", "require", "prefer", "allow") else False


def _write(path: Path, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        path.chmod(0o600)
        return False
    beside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
    return True
