"""The next free block of a fleet's addresses, and the Noise key that its servers share."""

from __future__ import annotations

import ipaddress
import re

import pytest

from placement.headscale.fleet import noise, prefixes


def all_blocks(length: int) -> list[str]:
    taken: list[str] = []
    while True:
        try:
            taken.append(prefixes.next_v4(taken, length=length))
        except prefixes.NoRoom:
            return taken


def test_blocks_are_disjoint_and_leave_out_what_is_reserved() -> None:
    blocks = [ipaddress.IPv4Network(block) for block in all_blocks(16)]
    assert len(blocks) == len(set(blocks)) == 64 - 3
    for reserved in ("100.100.0.0/24", "100.100.100.100/32", "100.115.92.0/23", "100.127.255.255/32"):
        assert not any(block.overlaps(ipaddress.IPv4Network(reserved)) for block in blocks)


def test_a_block_is_found_beside_blocks_of_other_sizes() -> None:
    assert prefixes.next_v4(["100.64.0.0/12"]) == "100.80.0.0/20"
    assert prefixes.next_v4(["100.64.0.128/25", "fd7a:115c:a1e0:1::/64"]) == "100.64.16.0/20"
    assert prefixes.next_v6([]) == "fd7a:115c:a1e0:1::/64"
    assert prefixes.next_v6(["fd7a:115c:a1e0:1::/64", "100.64.0.0/20"]) == "fd7a:115c:a1e0:2::/64"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("10.0.0.0/8", "outside"),
        ("fd00::/64", "outside"),
        ("100.127.240.0/20", "overlaps 100.127.255.255/32"),
        ("100.64.8.0/24", "overlaps 100.64.0.0/20"),
        ("100.64.0.1/20", "host bits"),
        ("nonsense", "does not appear"),
    ],
)
def test_a_wished_block_is_refused_with_the_reason(wanted: str, why: str) -> None:
    assert why in (prefixes.conflict(wanted, ["100.64.0.0/20", "fd7a:115c:a1e0:1::/64"]) or "")


def test_a_wished_block_that_is_free_is_fine() -> None:
    assert prefixes.conflict("100.80.0.0/16", ["100.64.0.0/20", "fd7a:115c:a1e0:1::/64"]) is None


def test_a_noise_key_has_headscales_form() -> None:
    """That its public key is the one which a server tells is shown on a real server, in test_fleet_headscale.py."""
    private = noise.generate()
    assert re.fullmatch("privkey:[0-9a-f]{64}", private)
    assert re.fullmatch("mkey:[0-9a-f]{64}", noise.public_of(private))
    with pytest.raises(ValueError, match="privkey:"):
        noise.public_of(noise.public_of(private))
