"""The words of a policy document: who is meant by a name, which ports and protocols by a text."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from acs.demo.simulator.config import Network

Ports = list[tuple[int, int]]

ALL_PORTS: Ports = [(0, 65535)]
ADDRESS, ANYONE, USER, GROUP, TAG, AUTOGROUP, HOST = "address", "*", "user", "group", "tag", "autogroup", "host"
SELF, INTERNET, MEMBER, TAGGED = "autogroup:self", "autogroup:internet", "autogroup:member", "autogroup:tagged"
DANGER_ALL = "autogroup:danger-all"
AUTOGROUPS = (INTERNET, MEMBER, "autogroup:nonroot", TAGGED, SELF, DANGER_ALL)
PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "ipv4": 4,
    "tcp": 6,
    "egp": 8,
    "igp": 9,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "sctp": 132,
    "fc": 133,
    "ip-in-ip": 4,
}
_NAMES = {str(number): name for name, number in PROTOCOLS.items() if name != "ip-in-ip"}


class PolicyFault(Exception):
    """The document is refused; the text says why, near to headscale's words."""


@dataclass(frozen=True)
class Service:
    """Ports under a protocol: a name, a number as text, or empty for any."""

    protocol: str
    ports: Ports

    @property
    def numbers(self) -> list[int]:
        """IANA's; none for any."""
        return protocol_numbers(self.protocol)


def protocol_numbers(protocol: str) -> list[int]:
    return [PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)] if protocol else []


def kind_of(name: str) -> str:
    """Raises: PolicyFault."""
    if network_of(name) is not None:
        return ADDRESS
    if name == "*":
        return ANYONE
    if "@" in name:
        return USER
    for kind in (GROUP, TAG, AUTOGROUP):
        if name.startswith(f"{kind}:"):
            return kind
    if ":" in name:
        raise PolicyFault(f'invalid alias format: "{name}"')
    return HOST


def network_of(text: str) -> Network | None:
    """The network that a text means; None where it is none. Bits beyond the length are dropped."""
    _, slash, length = text.partition("/")
    if "%" in text or (slash and not re.fullmatch(r"0|[1-9]\d{0,2}", length)):
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def check_form(name: str) -> str:
    """A name that stands where its form is checked at once: behind it stand ports. Raises: PolicyFault."""
    kind = kind_of(name)
    if kind == TAG:
        check_tag_form(name)
    if kind == AUTOGROUP and name not in AUTOGROUPS:
        raise PolicyFault(f'invalid autogroup: got "{name}", must be one of {list(AUTOGROUPS)}')
    return kind


def check_tag_form(tag: str) -> None:
    """Raises: PolicyFault."""
    if not tag.startswith("tag:"):
        raise PolicyFault(f"tag must start with 'tag:', got: \"{tag}\"")
    if not re.match(r"tag:[A-Za-z]", tag):
        raise PolicyFault("tag names must start with a letter, after 'tag:'")


def with_ports(target: str) -> tuple[str, Ports]:
    """`name:ports`; an IPv6 address may stand in brackets. Raises: PolicyFault."""
    if ":" not in target:
        raise PolicyFault(f'hostport must contain a colon: "{target}"')
    if target.startswith("["):
        inner, closed, rest = target[1:].partition("]")
        network = network_of(inner)
        if not closed or network is None or network.version != 6 or rest[:1] not in (":", "/"):
            raise PolicyFault(f'square brackets are only valid around IPv6 addresses: "{target}"')
        target = inner + rest
    name, _, ports = target.rpartition(":")
    if not name:
        raise PolicyFault("input cannot start with a colon character")
    if not ports:
        raise PolicyFault("input cannot end with a colon character")
    found = read_ports(ports)
    check_form(name)
    return name, found


def read_ports(text: str) -> Ports:
    """Raises: PolicyFault."""
    if text == "*":
        return ALL_PORTS
    found: Ports = []
    for part in text.split(","):
        if "-" not in part:
            port = _port(part)
            if port < 1:
                raise PolicyFault("first port must be >0, or use '*' for wildcard")
            found.append((port, port))
            continue
        ends = [end for end in part.split("-") if end]
        if len(ends) != 2:
            raise PolicyFault("invalid port range format")
        first, last = _port(ends[0]), _port(ends[1])
        if first > last:
            raise PolicyFault("invalid port range: first port is greater than last port")
        found.append((first, last))
    return found


def _port(text: str) -> int:
    if not re.fullmatch(r"\+?\d+", text):
        raise PolicyFault("invalid first integer")
    if int(text) > 65535:
        raise PolicyFault("port number out of range")
    return int(text)


def read_service(text: str) -> Service:
    """An entry of a grant's `ip`: `*`, `443`, `80-90`, `tcp:443`, `icmp:*`. Raises: PolicyFault."""
    protocol, colon, ports = text.rpartition(":")
    if not colon:
        return Service("", read_ports(text))
    if ":" in protocol:
        raise PolicyFault(f"expected only one colon in Internet protocol and port type, got: {text}")
    check_protocol(protocol)
    return Service(protocol, read_ports(ports))


def read_protocol(text: str) -> str:
    """A rule's or a test's `proto`: in any case of letters, and a number becomes its name. Raises: PolicyFault."""
    protocol = _NAMES.get(text.lower(), text.lower())
    check_protocol(protocol)
    return protocol


def check_protocol(protocol: str) -> None:
    """Raises: PolicyFault."""
    if not protocol or protocol in PROTOCOLS:
        return
    if protocol == "*":
        raise PolicyFault('proto name "*" not known; use protocol number 0-255 or protocol name (icmp, tcp, udp, etc.)')
    if protocol.startswith("0"):
        raise PolicyFault(f'leading 0 not permitted in protocol number: "{protocol}"')
    if not re.fullmatch(r"\d+", protocol):
        raise PolicyFault(f'invalid protocol number: "{protocol}" must be a known protocol name or valid protocol number 0-255')
    if int(protocol) > 255:
        raise PolicyFault(f"protocol number out of range (0-255): {protocol}")
