"""Small networks for tests of policies: `device("laptop", person="ann@x.example")`, `network(text, devices)`."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Sequence

from placement.policies.compiling import compile_cluster
from placement.policies.facts import ClusterFact, DeviceFact, PeeringFact, TenantFact
from placement.policies.reach import Reach, reach_of
from tenants.policies.document import NOTHING_WRITTEN, Document
from tenants.policies.reading import read

serial = itertools.count(1)


def device(name: str, *tags: str, person: str = "", routes: Iterable[str] = (), exit: bool = False, account: str = "acme") -> DeviceFact:  # noqa: A002
    number = next(serial)
    addresses = (f"100.64.{number // 250}.{number % 250 + 1}/32", f"fd7a:115c:a1e0::{number:x}/128")
    return DeviceFact(
        f"{account}-{name}",
        name,
        addresses=tuple(map(ipaddress.ip_network, addresses)),
        tags=tuple(f"tag:{account}--{tag}" for tag in tags),
        person=person,
        routes=tuple(map(ipaddress.ip_network, routes)),
        exit=exit,
    )


def tenant(text: str | Document, devices: Sequence[DeviceFact], *, account: str = "acme", members: Iterable[str] = ()) -> TenantFact:
    document = text if isinstance(text, Document) else read(text) if text else NOTHING_WRITTEN
    kept = {"tag:" + tag.partition("--")[2] for one in devices for tag in one.tags}
    return TenantFact(account, document, tuple(devices), frozenset(members), frozenset(kept))


def reach(*tenants: TenantFact, of: str = "acme", peerings: Sequence[PeeringFact] = ()) -> Reach:
    cluster = ClusterFact("c1", tenants, tuple(peerings))
    return reach_of(compile_cluster(cluster), cluster, of)
