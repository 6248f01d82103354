"""Headscale itself says of every pair what the table of who reaches what says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.errors import ClusterRefused
from placement.policies import spans
from placement.policies.compiling import compile_cluster
from placement.policies.facts import ClusterFact
from placement.policies.reach import reach_of
from tenants.policies.document import Service
from tests.placement.policies.networks import device, tenant
from tests.servers import run_headscale

DEVICES = [device(f"d{n}") for n in range(3)] + [
    device("router", routes=["10.1.0.0/16"])
]  # by name: a server knows an address without a device
NAMES = [one.name for one in DEVICES]
# not SCTP: a rule for all protocols lets it pass in headscale's tests, and not in clients, to whom that is TCP, UDP and ICMP (tailcfg.FilterRule)
ASKED = [Service("tcp", 22, 22), Service("udp", 53, 53), Service("", 443, 443)]

sources = st.lists(st.sampled_from([*NAMES, "10.1.5.0/24"]), min_size=1, max_size=2)
destinations = st.lists(st.sampled_from([*NAMES, "10.1.5.0/24", "10.0.0.0/8"]), min_size=1, max_size=2)
services = st.lists(st.sampled_from(["*", "22", "53", "tcp:20-30", "udp:*", "440-450", "sctp:80", "icmp:*"]), min_size=1, max_size=2)
policies = st.lists(st.tuples(sources, destinations, services), max_size=4).map(
    lambda grants: json.dumps({"grants": [{"src": src, "dst": dst, "ip": ip} for src, dst, ip in grants]})
)


@pytest.mark.headscale
def test_headscale_says_of_every_pair_what_the_table_says(tmp_path):
    with run_headscale(tmp_path) as server, server.admin() as admin:

        @settings(max_examples=25)
        @given(policies)
        def agree(text):
            cluster = ClusterFact("c1", (tenant(text, DEVICES),))
            compiled = compile_cluster(cluster)
            reach = reach_of(compiled, cluster, "acme")
            places = {
                **{one.id: str(one.addresses[0].network_address) for one in DEVICES},
                "10.1.5.7/32": "10.1.5.7",
                "10.1.9.9/32": "10.1.9.9",
            }
            tests = [
                {"src": at, "proto": asked.protocol, "accept" if spans.touches(reach.services(src, dst), asked) else "deny": [f"{to}:{asked.first}"]}
                for src, at in places.items() for dst, to in places.items() for asked in ASKED if src != dst
            ]  # fmt: skip
            document = json.loads(compiled.text.partition("\n")[2])
            try:
                admin.check_policy(json.dumps({**document, "tests": tests}))
            except ClusterRefused as refusal:
                pytest.fail(f"{text}\n{refusal.reason[:2000]}")

        agree()
