"""The HAProxy configuration that the gateway driver expects, rendered for given addresses and files."""

from __future__ import annotations

from pathlib import Path
from string import Template

from placement.gateway.haproxy import CA_NAME, MAP_NAME, SYSTEM_CA

TEMPLATE = Path(__file__).with_name("haproxy.cfg.template")


def render(
    *,
    domain: str,
    certificate: str,
    map_path: str = "/etc/haproxy/tenants.map",
    socket: str = "/run/haproxy/acs.sock mode 660",
    http_bind: str = ":80",
    https_bind: str = ":443",
    cluster_ca: str = SYSTEM_CA,
    acs_url: str = "",
) -> str:
    """The text of haproxy.cfg.

    `certificate` is a PEM file with the wildcard certificate of `domain` and its key. `socket` is what HAProxy's `stats socket` takes: a
    path with its mode, or `ipv4@HOST:PORT`. `cluster_ca` vouches for clusters whose admin address is https:// (a file clusters-ca.pem, or
    the system's authorities). With `acs_url` the page where a person approves a device (/register/) is ACS's own, under whatever name it
    was asked for. Raises ValueError for a text that would not stay on its line, or a file that is not named as the driver expects.
    """
    facts = {
        "domain": domain,
        "certificate": certificate,
        "map_path": map_path,
        "socket": socket,
        "http_bind": http_bind,
        "https_bind": https_bind,
        "cluster_ca": cluster_ca,
        "acs_url": acs_url.rstrip("/"),
    }
    for name, fact in facts.items():
        if not fact.isprintable() or any(sign in fact for sign in "\"'#\\"):
            raise ValueError(f"{name}: {fact!r} cannot stand in haproxy.cfg")
    if Path(map_path).name != MAP_NAME:
        raise ValueError(f"map_path: {map_path!r} must end in {MAP_NAME}, the name by which ACS finds it")
    if cluster_ca != SYSTEM_CA and Path(cluster_ca).name != CA_NAME:
        raise ValueError(f"cluster_ca: {cluster_ca!r} must end in {CA_NAME}, the name by which ACS finds it, or be {SYSTEM_CA}")
    return Template(TEMPLATE.read_text()).substitute(facts, register=_register(facts["acs_url"]))


def _register(acs_url: str) -> str:
    """Whose page it was, ACS is told: the host, with its port where it has one."""
    location = f"{acs_url}%[path]?host=%[req.hdr(host),lower,url_enc]"
    return f"    http-request redirect location {location} code 302 if {{ path_beg /register/ }}" if acs_url else ""
