"""Protocols and ports as headscale reads them. Pure."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from tenants.policies.document import Service
from tenants.policies.hujson import shortened
from tenants.policies.names import address
from tenants.policies.parts import Refusal

NUMBERS = {
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
}
NAMES = {str(number): name for name, number in NUMBERS.items()}
ALIASES = {"ip-in-ip": "ipv4"}  # both are protocol 4
WITH_PORTS = frozenset({"", "tcp", "udp", "sctp"})
PROTOCOL_NUMBER = re.compile(r"[1-9][0-9]{0,2}\Z")
SPAN = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")
LAST_PORT = 65535
MOST_SPANS = 200
Span = tuple[int, int]


def protocol(text: str) -> str:
    """A protocol by its name in lower case, or by its number where it has none; empty is what clients take for all. Raises Refusal."""
    name = text.lower()
    name = ALIASES.get(name, NAMES.get(name, name))
    if not name or name in NUMBERS:
        return name
    if name == "*":
        raise Refusal(_("* is no protocol: leave the protocol out, or write its name or number."))
    if not PROTOCOL_NUMBER.match(name) or int(name) > 255:
        raise Refusal(
            _("“%(name)s” is no protocol: write a name such as tcp, udp or icmp, or a number from 1 to 255.") % {"name": shortened(text)}
        )
    return name


def ports(text: str) -> tuple[Span, ...]:
    """Spans of ports: `*`, `443`, `80,443,8000-8100`; sorted, each once. Raises Refusal."""
    if text == "*":
        return ((0, LAST_PORT),)
    if text.count(",") >= MOST_SPANS:
        raise Refusal(_("At most %(most)d spans of ports may stand in one place.") % {"most": MOST_SPANS})
    return tuple(sorted({_span(piece) for piece in text.split(",")}))


def _span(text: str) -> Span:
    found = SPAN.match(text)
    if found is None:
        raise Refusal(_("“%(ports)s” is no port: write *, a number, or a span such as 80-90.") % {"ports": shortened(text)})
    first = int(found[1])
    last = first if found[2] is None else int(found[2])
    if last > LAST_PORT or first > LAST_PORT:
        raise Refusal(_("There is no port %(port)d: the last one is 65535.") % {"port": max(first, last)})
    if first > last:
        raise Refusal(_("The span %(ports)s ends before it begins.") % {"ports": text})
    if last == 0:
        raise Refusal(_("There is no port 0: write * for all ports."))
    return first, last


def served(name: str, spans: tuple[Span, ...]) -> tuple[Service, ...]:
    """The services of a protocol on these ports. Raises Refusal for ports of a protocol that has none."""
    if name not in WITH_PORTS and spans != ((0, LAST_PORT),):
        raise Refusal(_("%(protocol)s has no ports: write * in their place.") % {"protocol": name})
    return tuple(Service(name, first, last) for first, last in spans)


def services(text: str) -> tuple[Service, ...]:
    """An entry of `ip`: `*`, `443`, `80-90,443`, `tcp:443`, `icmp:*`. Raises Refusal."""
    name, colon, span = text.rpartition(":")
    if colon and not name:
        raise Refusal(_("The protocol is missing before the colon."))
    return served(protocol(name), ports(span))


def split(text: str) -> tuple[str, str]:
    """A destination's name and its ports, split where headscale splits them; IPv6 addresses may stand in brackets. Raises Refusal."""
    bare = _without_brackets(text) if text.startswith("[") else text
    name, colon, span = bare.rpartition(":")
    if not colon or name in ("tag", "group", "autogroup"):
        raise Refusal(_("The ports of “%(name)s” are missing: write “%(name)s:*” for all of them.") % {"name": shortened(text)})
    if not name:
        raise Refusal(_("The name before the colon is missing."))
    if not span:
        raise Refusal(_("The ports after the colon are missing."))
    return name, span


def _without_brackets(text: str) -> str:
    inside, closed, rest = text[1:].partition("]")
    if not closed or ":" not in inside or address(inside) is None or rest[:1] not in (":", "/"):
        raise Refusal(_("Brackets stand around an IPv6 address only, as in [fd7a::1]:22."))
    return inside + rest
