"""Services as sets: joined, subtracted and asked, without loss, and written in as few words as they take. Pure.

A service without a protocol is what a client takes for all of them: TCP, UDP and ICMP. Each protocol has its spans of ports; those of ICMP, which
knows no ports, are only remembered, so that what was joined can be told apart again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
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
    return meets(spread(services), asked)


def meets(there: Spans, asked: Service) -> bool:
    """The same of spans."""
    return any(_any(there.get(protocol, ()), asked) for protocol in ((asked.protocol,) if asked.protocol else USUAL))


def _any(there: tuple[Span, ...], asked: Service) -> bool:
    place = bisect_left(there, asked.first, key=lambda span: span[1])
    return place < len(there) and there[place][0] <= asked.last


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
    """Of spans that are joined and in order, as all of these are: in time that grows as their number does."""
    ones, there = list(some), list(others)
    found: list[Span] = []
    one = other = 0
    while one < len(ones) and other < len(there):
        first, last = max(ones[one][0], there[other][0]), min(ones[one][1], there[other][1])
        if first <= last:
            found.append((first, last))
        if ones[one][1] < there[other][1]:
            one += 1
        else:
            other += 1
    return tuple(found)


def _less(spans: Iterable[Span], holes: Iterable[Span]) -> tuple[Span, ...]:
    gaps, left, place = list(holes), [], 0
    for begin, last in spans:
        first = begin
        while place < len(gaps) and gaps[place][1] < first:
            place += 1
        end = bisect_right(gaps, last, lo=place, key=lambda gap: gap[0])
        for gap in gaps[place:end]:
            if first < gap[0]:
                left.append((first, gap[0] - 1))
            first = gap[1] + 1
        if first <= last:
            left.append((first, last))
    return tuple(left)
