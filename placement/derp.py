"""The DERP map: the relays by which devices find each other. Devices get it from ACS, servers keep a copy in headscale's own spelling.

One map for all (ACS_DERP_MAP, a JSON or YAML file in Tailscale's spelling or in headscale's), unless a cluster's row holds its own. Without the
setting it is a map of one relay on loopback, which is enough for a demonstration on one machine and for nothing else: operators name
their own relays, or those of Tailscale (https://controlplane.tailscale.com/derpmap/default).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings

from placement.models import Cluster

# Tailscale's names (JSON); headscale's YAML has the same ones in lower case.
NAMES = (
    "Regions RegionID RegionCode RegionName Latitude Longitude Avoid NoMeasureNoHome Nodes Name HostName CertName IPv4 IPv6 STUNPort STUNOnly "
    "DERPPort InsecureForTests STUNTestIP CanPort80 HomeParams RegionScore omitDefaultRegions"
)
SPELLING = {name.lower(): name for name in NAMES.split()}
LOOPBACK: dict[str, Any] = {
    "Regions": {
        "900": {
            "RegionID": 900,
            "RegionCode": "local",
            "RegionName": "This machine alone",
            "Nodes": [
                {
                    "Name": "900a",
                    "RegionID": 900,
                    "HostName": "127.0.0.1",
                    "IPv4": "127.0.0.1",
                    "IPv6": "none",
                    "STUNPort": -1,
                    "DERPPort": 33401,
                }
            ],
        }
    }
}


class BadDerpMap(Exception):
    """The file cannot be read or is no DERP map; the text says why."""


def map_for(cluster: Cluster) -> dict[str, Any]:
    """The cluster's map in Tailscale's JSON. Raises: BadDerpMap."""
    return normalised(cluster.derp_map, source=f"the map of {cluster.cluster_id}") if cluster.derp_map else fleet_wide()


def fleet_wide() -> dict[str, Any]:
    """The map for clusters without one of their own. Raises: BadDerpMap."""
    if not settings.DERP_MAP:
        return LOOPBACK
    path = Path(settings.DERP_MAP)
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise BadDerpMap(f"ACS_DERP_MAP names {path}, which cannot be read: {error.strerror}") from error


def as_headscale(derp_map: Mapping[str, Any]) -> dict[str, Any]:
    """The map as headscale reads it from a file: lower-case names, numbers as region keys."""
    spelled: dict[str, Any] = _spelled(derp_map, lambda name: int(name) if name.isdigit() else name.lower())
    return spelled


def as_headscale_yaml(derp_map: Mapping[str, Any]) -> str:
    return yaml.safe_dump(as_headscale(derp_map), sort_keys=False)


def normalised(found: Any, *, source: str) -> dict[str, Any]:
    """A map in either spelling, in Tailscale's JSON. Raises: BadDerpMap."""
    spelled = _spelled(found, lambda name: SPELLING.get(name.lower(), name))
    regions = spelled.get("Regions") if isinstance(spelled, dict) else None
    if not isinstance(regions, dict) or not regions:
        raise BadDerpMap(f"{source} has no regions")
    for key, region in regions.items():
        if region is not None:
            _check_region(str(key), region, source)
    return {**spelled, "Regions": {str(key): region for key, region in regions.items()}}


def _check_region(key: str, region: Any, source: str) -> None:
    if not isinstance(region, dict) or str(region.get("RegionID")) != key:
        raise BadDerpMap(f"{source}: region {key} does not say RegionID {key}")
    for node in region.get("Nodes") or []:
        if not isinstance(node, dict) or not node.get("Name") or not node.get("HostName") or str(node.get("RegionID")) != key:
            raise BadDerpMap(f"{source}: a node of region {key} lacks its Name, its HostName or RegionID {key}")


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> dict[str, Any]:
    try:
        return normalised(yaml.safe_load(path.read_text(encoding="utf-8")), source=str(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadDerpMap(f"{path} is neither JSON nor YAML: {error}") from error


def _spelled(value: Any, spell: Any) -> Any:
    if isinstance(value, Mapping):
        return {(spell(key) if isinstance(key, str) else key): _spelled(item, spell) for key, item in value.items()}
    return [_spelled(item, spell) for item in value] if isinstance(value, list) else value
