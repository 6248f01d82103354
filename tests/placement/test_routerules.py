"""Which prefixes may be routed at all, as laws."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement import routerules


@pytest.mark.parametrize(
    "text",
    [
        *("100.64.0.0/10", "100.100.0.0/16", "100.64.3.7/32", "100.0.0.0/8", "fd7a:115c:a1e0::/48", "fd7a:115c:a1e0:1::/64", "fd7a::/16"),
        *("127.0.0.0/8", "127.0.0.1/32", "::1/128", "169.254.169.254/32", "fe80::/10", "224.0.0.0/4", "239.1.2.3/32", "ff02::1/128"),
        *("0.0.0.0/1", "128.0.0.0/1", "64.0.0.0/7", "::/1", "2000::/3", "::ffff:100.64.0.0/106", "0.0.0.0/32", "255.255.255.255/32"),
        *("192.0.2.0/24", "203.0.113.7/32", "192.0.0.0/16", "2001:db8::/32"),
    ],
)
def test_what_would_take_others_traffic_is_forbidden(text):
    assert routerules.forbidden(ipaddress.ip_network(text))


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "192.168.1.0/24", "8.8.8.8/32", "100.0.0.0/10", "2600:1::/32", "fd00:1::/32", "0.0.0.0/0", "::/0"]
)
def test_what_networks_are_made_of_may_be_routed(text):
    assert routerules.forbidden(ipaddress.ip_network(text)) == ""


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4), st.integers(0, 32))
def test_prefixes_overlap_when_one_holds_the_other(one, length, other, longer):
    first, second = ipaddress.ip_network(f"{one}/{length}", strict=False), ipaddress.ip_network(f"{other}/{longer}", strict=False)
    held = first.subnet_of(second) or second.subnet_of(first)
    assert routerules.overlaps(first, [second]) == routerules.overlaps(second, [first]) == held
    assert not routerules.overlaps(first, [ipaddress.ip_network("::/0")])


def test_an_exit_route_is_one_for_both_versions_as_servers_keep_it():
    assert routerules.whole(["10.1.0.0/16", "0.0.0.0/0"]) == {"10.1.0.0/16", "0.0.0.0/0", "::/0"}
    assert routerules.whole(["10.1.2.3/16", "nonsense"]) == {"10.1.0.0/16"}
    assert routerules.network_of("nonsense") is None
