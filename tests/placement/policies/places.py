"""Small tenants for tests of proofs and pushes: `tenant("acme", text, device("laptop"), device("web-1", "web"))`."""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import replace

from placement.policies.facts import DeviceFact, TenantFact
from tenants.policies.document import NOTHING_WRITTEN
from tenants.policies.reading import read

serial = itertools.count(1)


def device(name: str, *tags: str, ipv4: bool = True) -> DeviceFact:
    """`tags` in the tenant's words, without `tag:`."""
    number = next(serial)
    addresses = [f"100.64.{number // 250}.{number % 250 + 1}"] if ipv4 else []
    networks = tuple(ipaddress.ip_network(address) for address in (*addresses, f"fd7a:115c:a1e0::{number:x}"))
    return DeviceFact(name, name, addresses=networks, tags=tags)


def tenant(account: str, text: str, *devices: DeviceFact) -> TenantFact:
    tagged = tuple(replace(one, id=f"{account}-{one.id}", tags=tuple(f"tag:{account}--{tag}" for tag in one.tags)) for one in devices)
    kept = frozenset(f"tag:{tag}" for one in devices for tag in one.tags)
    return TenantFact(account, read(text) if text else NOTHING_WRITTEN, tagged, kept_tags=kept)
