"""Random clusters: tenants that call things alike and name what is others', routers, exit nodes, peerings."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

from hypothesis import strategies as st

from placement.policies.facts import ClusterFact, DeviceFact, PeeringFact, TenantFact
from tenants.policies.document import Document, Place, Rule, Service, Word

ACCOUNTS = ("acme", "bolt", "crow")
TAGS = ("tag:web", "tag:db")
NAMES = ("printer", "till-7", "nas")
PREFIXES = {"acme": "10.1.0.0/16", "bolt": "10.2.0.0/16", "crow": "81.2.69.0/24"}  # the last is a public one
PEOPLE = ("ann@example.com", "bob@example.com")
PROBES = ("10.1.2.3", "10.2.2.3", "81.2.69.7", "8.8.8.8", "192.0.2.1", "100.64.9.9", "2606:4700::1111")
SERVICES = (Service(), Service("tcp", 22, 22), Service("", 80, 90), Service("udp", 53, 53), Service("icmp"))
PACKETS = (("tcp", 22), ("tcp", 85), ("udp", 53), ("icmp", 0), ("tcp", 60000))


def address(tenant: int, device: int) -> tuple[Any, ...]:
    return ipaddress.ip_network(f"100.64.{tenant}.{device + 1}"), ipaddress.ip_network(f"fd7a:115c:a1e0:1::{tenant}:{device + 1}")


@st.composite
def devices(draw: Any, account: str, number: int) -> tuple[DeviceFact, ...]:
    found = []
    for index in range(draw(st.integers(0, 3))):
        tags = tuple(f"tag:{account}--{tag[4:]}" for tag in draw(st.sets(st.sampled_from(TAGS), max_size=2)))
        name = draw(st.sampled_from(NAMES))
        found.append(
            DeviceFact(
                id=f"{account}-{index}",
                name=f"{name}-{number}{index}",
                hostname=name,
                registration_id=draw(st.sampled_from(("", name))),
                addresses=address(number, index),
                tags=tags,
                person="" if tags else draw(st.sampled_from(("", *PEOPLE))),
                routes=(ipaddress.ip_network(PREFIXES[account]),) if draw(st.integers(0, 3)) == 0 else (),
                exit=draw(st.integers(0, 3)) == 0,
            )
        )
    return tuple(found)


def words(*more: str) -> st.SearchStrategy[tuple[Word, ...]]:
    known = ("*", "autogroup:member", "autogroup:tagged", *TAGS, *NAMES, *PEOPLE, "group:dev", "box")
    strange = (
        "100.64.0.1",
        "100.64.1.1",
        "100.64.0.0/10",
        "fd7a:115c:a1e0:1::2:1",
        *PREFIXES.values(),
        "10.0.0.0/8",
        "192.0.2.0/24",
        "8.8.0.0/16",
    )
    return st.lists(st.sampled_from((*known, *strange, *more)), max_size=3).map(lambda texts: tuple(Word(text) for text in texts))


services = st.lists(st.sampled_from(SERVICES), min_size=1, max_size=2, unique=True).map(tuple)


@st.composite
def rules(draw: Any) -> Rule:
    via = draw(st.sampled_from(((), (), (), (Word(TAGS[0]),))))
    return Rule("acls[0]", Place(), draw(words()), draw(words("autogroup:self", "autogroup:internet")), draw(services), via=via)


@st.composite
def documents(draw: Any) -> Document:
    if draw(st.integers(0, 3)) == 0:
        return Document()
    members = st.lists(st.sampled_from((*NAMES, *PEOPLE)), max_size=3).map(lambda texts: tuple(Word(text) for text in texts))
    box = Word(draw(st.sampled_from(("100.64.0.2", "100.64.1.2", "10.1.2.3", "10.2.2.3", "81.2.69.7"))))
    return Document(
        groups={"group:dev": draw(members)},
        hosts={"box": box},
        tags=dict.fromkeys(TAGS, ()),
        rules=tuple(draw(st.lists(rules(), max_size=3))),
    )


@st.composite
def clusters(draw: Any) -> ClusterFact:
    tenants = []
    for number, account in enumerate(ACCOUNTS):
        there = draw(devices(account, number))
        kept = frozenset(f"tag:{tag.partition('--')[2]}" for device in there for tag in device.tags)
        tenants.append(TenantFact(account, draw(documents()), there, frozenset(PEOPLE), kept))
    pairs = draw(st.lists(st.sampled_from(list(itertools.permutations(ACCOUNTS, 2))), max_size=2))
    peerings = [
        PeeringFact(f"p{number}", host, guest, draw(words()), draw(words()), draw(services)) for number, (host, guest) in enumerate(pairs)
    ]
    return ClusterFact("eu1", tuple(tenants), tuple(peerings))
