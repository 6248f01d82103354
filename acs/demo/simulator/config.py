"""The part of headscale's configuration file that matters here, read from the same file."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Config:
    """What the simulator heeds. Addresses are (host, port); `database` is libpq's words or a path of an SQLite file."""

    server_url: str
    listen: tuple[str, int]
    metrics_listen: tuple[str, int] | None
    noise_key: Path
    prefix_v4: Network | None
    prefix_v6: Network | None
    random_addresses: bool
    base_domain: str
    database: dict[str, str] | Path
    policy_in_database: bool
    policy_path: Path | None
    node_expiry: timedelta | None
    ephemeral_timeout: timedelta
    pending_logins_live: timedelta


def read(path: Path) -> Config:
    """Raises: KeyError, ValueError or TypeError when the file is not headscale's."""
    words: dict[str, Any] = yaml.safe_load(path.read_text())
    prefixes, policy, node = words.get("prefixes") or {}, words.get("policy") or {}, words.get("node") or {}
    ephemeral = (node.get("ephemeral") or {}).get("inactivity_timeout") or words.get("ephemeral_node_inactivity_timeout") or "120s"
    return Config(
        server_url=words["server_url"],
        listen=_address(words["listen_addr"]),
        metrics_listen=_address(words["metrics_listen_addr"]) if words.get("metrics_listen_addr") else None,
        noise_key=Path(words["noise"]["private_key_path"]),
        prefix_v4=_prefix(prefixes.get("v4")),
        prefix_v6=_prefix(prefixes.get("v6")),
        random_addresses=prefixes.get("allocation") == "random",
        base_domain=(words.get("dns") or {}).get("base_domain", ""),
        database=_database(words["database"]),
        policy_in_database=policy.get("mode", "file") == "database",
        policy_path=Path(policy["path"]) if policy.get("path") else None,
        node_expiry=_span(node.get("expiry", 0)) or None,
        ephemeral_timeout=_span(ephemeral),
        pending_logins_live=_span((words.get("tuning") or {}).get("register_cache_expiration", "15m")),
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host or "0.0.0.0", int(port)


def _prefix(text: str | None) -> Network | None:
    return ipaddress.ip_network(text) if text else None


def _database(words: dict[str, Any]) -> dict[str, str] | Path:
    if words["type"] in ("sqlite", "sqlite3"):
        return Path(words["sqlite"]["path"])
    given = words["postgres"]
    named = {
        "host": given["host"],
        "dbname": given["name"],
        "user": given["user"],
        "port": given.get("port"),
        "password": given.get("pass"),
    }
    ssl = str(given.get("ssl", "")).lower()
    named["sslmode"] = "disable" if ssl == "false" else None if ssl in ("", "true") else ssl
    return {word: str(value) for word, value in named.items() if value}


def _span(text: str | int) -> timedelta:
    """Go's durations: 30m, 1h30m, 20ms; 0 for none."""
    parts = re.findall(r"([\d.]+)(ns|us|ms|s|m|h|d)", str(text))
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
