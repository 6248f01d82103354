"""Services as sets: joined, subtracted and asked, without loss, and written in as few words as they take. Pure.

A service without a protocol is what a client takes for all of them: TCP, UDP and ICMP. Each protocol has its spans of ports; those of ICMP, which
knows no ports, are only remembered, so that what was joined can be told apart again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tenants.policies.document import Service

USUAL = ("tcp", "udp", "icmp", "ipv6-icmp")
PORTLESS = ("icmp", "ipv6-icmp")

Span = tuple[int, int]
Spans = Mapping[str, tuple[Span, ...]]


def spread(services: Iterable[Service]) -> dict[str, tuple[Span, ...]]:
    """The spans of each protocol, joined and in order."""
    found: dict[str, list[Span]] = {}
    for service in services:
        for protocol in (service.protocol,) if service.protocol else USUAL:
            found.setdefault(protocol, []).append((service.first, service.last))
    return {protocol: _joined(spans) for protocol, spans in found.items()}


def written(spans: Spans) -> tuple[Service, ...]:
    """The services that are just these spans, in order: what all usual protocols share has no protocol of its own."""
    shared = spans.get(USUAL[0], ())
    for protocol in USUAL[1:]:
        shared = _common(shared, spans.get(protocol, ()))
    found = [Service("", first, last) for first, last in shared]
    for protocol, own in spans.items():
        rest = _less(own, shared) if protocol in USUAL else own
        found += [Service(protocol, first, last) for first, last in rest]
    return tuple(sorted(found))


def joined(services: Iterable[Service]) -> tuple[Service, ...]:
    """The same services in as few words as they take."""
    return written(spread(services))


def minus(services: Iterable[Service], others: Iterable[Service]) -> tuple[Service, ...]:
    """What of the services is not among the others."""
    less = spread(others)
    left = {protocol: _less(spans, less.get(protocol, ())) for protocol, spans in spread(services).items()}
    return written({protocol: spans for protocol, spans in left.items() if spans})


def covers(services: Iterable[Service], asked: Service) -> bool:
    """Whether all that is asked for may pass. A port without a protocol is asked for with the usual protocols, ICMP without ports."""
    there, wanted = spread(services), spread([asked])
    return all(_passes(there.get(protocol, ()), spans, protocol) for protocol, spans in wanted.items())


def touches(services: Iterable[Service], asked: Service) -> bool:
    """Whether any of what is asked for may pass, as headscale reads the tests of a policy."""
    there, wanted = spread(services), spread([asked])
    return any(_common(there.get(protocol, ()), spans) for protocol, spans in wanted.items())


def _passes(there: tuple[Span, ...], wanted: tuple[Span, ...], protocol: str) -> bool:
    return bool(there) if protocol in PORTLESS else not _less(wanted, there)


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _common(some: Iterable[Span], others: Iterable[Span]) -> tuple[Span, ...]:
    there = list(others)
    pieces = [(max(a, c), min(b, d)) for a, b in some for c, d in there if max(a, c) <= min(b, d)]
    return _joined(pieces)


def _less(spans: Iterable[Span], holes: Iterable[Span]) -> tuple[Span, ...]:
    left = list(spans)
    for first, last in holes:
        left = [piece for span in left for piece in _cut(span, first, last)]
    return tuple(left)


def _cut(span: Span, first: int, last: int) -> list[Span]:
    if last < span[0] or span[1] < first:
        return [span]
    pieces = [(span[0], first - 1), (last + 1, span[1])]
    return [piece for piece in pieces if piece[0] <= piece[1]]
