"""What a device's own side reports: `tailscale netcheck --format=json` and the probes of the reference clients, read strictly.

Only what diagnosis needs is kept: no addresses, no names. Fields of netcheck: tailscale v1.102, net/netcheck/netcheck.go, type Report.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from placement.diagnosis.facts import NetFacts
from tenants.errors import MalformedRequest

LONGEST = 200
PROBES = ("dns", "tcp", "tls")
FURTHEST = 10 * 365 * 86400.0  # seconds: a clock without a battery begins decades ago, and a number beyond that is none


def clean(report: Mapping[str, Any]) -> dict[str, Any]:
    """`{"netcheck": {...}, "probes": {...}}` as what is stored. Raises: MalformedRequest naming each field that is wrong."""
    wrong = {name: "unknown field" for name in report if name not in ("netcheck", "probes")}
    for name in ("netcheck", "probes"):
        if not isinstance(report.get(name, {}), dict):
            wrong[name] = "must be an object"
    if not wrong and not (report.get("netcheck") or report.get("probes")):
        wrong["netcheck"] = "a report says something: netcheck, probes or both"
    if wrong:
        raise MalformedRequest(wrong)
    kept = {**_netcheck(report.get("netcheck", {}), wrong), **_probes(report.get("probes", {}), wrong)}
    if wrong:
        raise MalformedRequest(wrong)
    return {name: value for name, value in kept.items() if value is not None}


def _netcheck(told: Mapping[str, Any], wrong: dict[str, str]) -> dict[str, Any]:
    def flag(name: str) -> bool | None:
        value = told.get(name)
        if value is not None and not isinstance(value, bool):
            wrong[f"netcheck.{name}"] = "must be true, false or null"
        return value if isinstance(value, bool) else None

    if not told:
        return {}
    mapped = [flag(name) for name in ("UPnP", "PMP", "PCP")]
    latency = told.get("RegionLatency")
    if latency is not None and not isinstance(latency, dict):
        wrong["netcheck.RegionLatency"] = "must be an object or null"
    return {
        "udp": flag("UDP"),
        "ipv6": flag("IPv6"),
        "hard_nat": flag("MappingVariesByDestIP"),
        "port_mapping": any(mapped) if any(one is not None for one in mapped) else None,
        "captive_portal": flag("CaptivePortal"),
        "derp": bool(latency) if "RegionLatency" in told else None,
    }


def _probes(told: Mapping[str, Any], wrong: dict[str, str]) -> dict[str, Any]:
    for name in told:
        if name not in (*PROBES, "clock_off"):
            wrong[f"probes.{name}"] = "unknown field"
    kept: dict[str, Any] = {}
    for name in PROBES:
        value = told.get(name)
        if value is not None and not isinstance(value, str):
            wrong[f"probes.{name}"] = "must be a text: ok, or what went wrong"
        elif value is not None:
            kept[name] = (
                value.replace("\0", "").encode("utf-8", "replace").decode()[:LONGEST]
            )  # half a surrogate is no text to the database
    off = told.get("clock_off")
    if off is not None and (isinstance(off, bool) or not isinstance(off, int | float) or not abs(off) <= FURTHEST):
        wrong["probes.clock_off"] = "must be seconds"
    elif off is not None:
        kept["clock_off"] = float(off)
    return kept


def facts_of(stored: Mapping[str, Any], at: datetime) -> NetFacts:
    return NetFacts(at=at, **stored)
