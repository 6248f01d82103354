"""Prefixes less others, and the Internet with gaps."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from placement.policies.internet import common, internet, without


@st.composite
def networks(draw: Any) -> Any:
    """Small ones that overlap often."""
    length = draw(st.integers(24, 32))
    return ipaddress.ip_network((0x0A000000 + draw(st.integers(0, 255)), length), strict=False)


@given(st.lists(networks(), max_size=4), st.lists(networks(), max_size=6))
def test_what_is_left_is_in_a_network_and_in_no_hole(there: list[Any], holes: list[Any]) -> None:
    left = without(there, holes)
    for number in range(256):
        address = ipaddress.ip_address(0x0A000000 + number)
        wanted = any(address in network for network in there) and not any(address in hole for hole in holes)
        assert any(address in network for network in left) == wanted


@given(networks(), st.lists(networks(), max_size=4))
def test_what_is_common_is_in_both(one: Any, others: list[Any]) -> None:
    found = common(one, others)
    for number in range(256):
        address = ipaddress.ip_address(0x0A000000 + number)
        assert any(address in network for network in found) == (address in one and any(address in other for other in others))


def test_the_internet_has_a_gap_that_keeps_exit_nodes_of_others_hidden_and_one_for_each_route() -> None:
    routed = ipaddress.ip_network("81.2.69.0/24")
    found = internet([routed, ipaddress.ip_network("10.0.0.0/8")])
    for outside in ("192.0.2.1", "81.2.69.7", "10.0.0.1", "100.64.0.1", "2001:db8::1", "fd7a:115c:a1e0::1"):
        assert not any(ipaddress.ip_address(outside) in network for network in found), outside
    for inside in ("81.2.70.1", "8.8.8.8", "2606:4700::1111"):
        assert any(ipaddress.ip_address(inside) in network for network in found), inside


def test_thousands_of_routes_are_left_out_at_once() -> None:
    routes = [ipaddress.ip_network((0x50000000 + (number << 8), 24)) for number in range(0, 12_500, 2)]
    found = internet(routes)
    assert not any(ipaddress.ip_address(0x50000001) in network for network in found)
