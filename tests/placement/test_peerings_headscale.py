"""Documents with peerings are taken by a real server, whatever words and services they are made of."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from placement.policies.compiling import LITERAL_FORM, SELF_FORM, compile_cluster
from placement.policies.facts import ClusterFact, DeviceFact, PeeringFact, TenantFact
from placement.policies.gathering import service_of
from tenants.policies.document import Word
from tenants.policies.reading import read
from tenants.policies.services import services
from tests.peered import OFFICE
from tests.servers import run_headscale

pytestmark = pytest.mark.headscale
SERVICES = (
    "443",
    "0-5",
    "tcp:80-90",
    "udp:0-65535",
    "icmp:*",
    "ipv6-icmp:*",
    "igmp:*",
    "gre:*",
    "ipv4:*",
    "99:*",
    "sctp:1",
    "58:*",
    "fc:*",
    "esp:*",
)
WORDS = ("*", "autogroup:member", "autogroup:tagged", "tag:db", "group:desk", "till-1", "100.64.0.1")


def tenant(account: str, number: int) -> TenantFact:
    def device(name: str, host: int, *tags: str) -> DeviceFact:
        addresses = tuple(map(ipaddress.ip_network, (f"100.64.{number}.{host}", f"fd7a:115c:a1e0::{number}:{host}")))
        return DeviceFact(f"{account}-{host}", name, addresses=addresses, tags=tags)

    return TenantFact(
        account, read(OFFICE), (device("till-1", 1), device("db-1", 2, f"tag:{account}--db")), kept_tags=frozenset({"tag:db"})
    )


@pytest.mark.parametrize("form", [SELF_FORM, LITERAL_FORM])
def test_a_server_takes_every_word_and_every_service_on_either_side(tmp_path: Path, form: str) -> None:
    tenants = (tenant("acme", 0), tenant("globex", 1), TenantFact("third"))
    kept = tuple(service_of(str(service)) for text in SERVICES for service in services(text))
    shared = [
        PeeringFact(f"{word} {other}", "acme", "globex", (Word(other.replace("64.0.1", "64.1.1")),), (Word(word),), kept)
        for word in WORDS
        for other in WORDS
    ]
    everything = PeeringFact("all", "globex", "acme", (Word("*"),), (Word("*"),), (service_of("*"),))
    compiled = compile_cluster(ClusterFact("a", tenants, (*shared, everything)), form=form)
    assert len([statement for statement in compiled.statements if statement.peering]) == len(WORDS) ** 2 + 1
    with run_headscale(tmp_path) as server, server.admin() as admin:
        for one in tenants:
            admin.make_user(one.account)
        assert admin.put_policy(compiled.text).document == compiled.text
