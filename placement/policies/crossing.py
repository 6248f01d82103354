"""Whether the packet filters that a server has in force join tenants: whose addresses a rule's sources and targets are. Pure."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate, product

from placement import policy, routerules
from placement.headscale.answers import Node
from placement.headscale.debug import FilterRule
from placement.policies.comparing import FILTER, Fault, Meant, Pair, whose
from placement.policies.facts import EXIT, Network

MOST_CROSSINGS = 20  # without any policy all tenants reach all others
MOST_OF_A_RULE = 40  # sources and targets that are kept as evidence

Interval = tuple[int, int, int]  # version of IP, first, last


class Holdings:
    """Who holds which addresses: devices their own, tenants what their routers route. Asked for a thousand rules of ten thousand devices."""

    def __init__(self, held: Iterable[tuple[Network, str]]) -> None:
        self._known: dict[str, frozenset[str]] = {}
        self._spans: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
        for network, account in held:
            self._spans[network.version].append((int(network.network_address), int(network.broadcast_address), account))
        self._firsts, self._furthest = {}, {}
        for version, spans in self._spans.items():
            spans.sort()
            self._firsts[version] = [first for first, _, _ in spans]
            self._furthest[version] = list(accumulate((last for _, last, _ in spans), max))

    def of(self, texts: Iterable[str]) -> frozenset[str]:
        """Whose addresses are among these addresses, prefixes, ranges (`a-b`) or `*`."""
        return frozenset().union(*map(self._of, texts))

    def _of(self, text: str) -> frozenset[str]:
        if text not in self._known:
            self._known[text] = frozenset(account for span in intervals(text) for account in self._within(*span))
        return self._known[text]

    def _within(self, version: int, first: int, last: int) -> Iterator[str]:
        spans, furthest = self._spans[version], self._furthest[version]
        place = bisect_right(self._firsts[version], last) - 1
        while place >= 0 and furthest[place] >= first:
            if spans[place][1] >= first:
                yield spans[place][2]
            place -= 1


def intervals(text: str) -> list[Interval]:
    """The addresses of an address, a prefix, a range or `*`. Raises: ValueError."""
    if text == "*":
        return [interval for whole in EXIT for interval in intervals(str(whole))]
    if "-" in text:
        first, last = (ipaddress.ip_address(end) for end in text.split("-"))
        return [(first.version, int(first), int(last))]
    network = ipaddress.ip_network(text, strict=False)
    return [(network.version, int(network.network_address), int(network.broadcast_address))]


def holdings(nodes: Iterable[Node], meant: Meant, but: Collection[int] = ()) -> Holdings:
    """Who holds the addresses and approved prefixes of a server's nodes; those of `but` (their ids) count as nobody's."""
    held: list[tuple[Network, str]] = []
    for node in nodes:
        if node.id not in but:
            account = whose(node, meant)
            held += [(ipaddress.ip_network(address), account) for address in (node.ipv4, node.ipv6) if address]
            routed = (routerules.network_of(text) for text in node.approved_routes)
            held += [(network, account) for network in routed if network is not None and network not in EXIT]
    return Holdings(held)


def crossings(rules: Iterable[FilterRule], held: Holdings, peered: Collection[Pair], silent: Collection[str] = ()) -> list[Fault]:
    """Rules in force that join what two tenants hold, but for accepted peerings; and any about tenants that reach nobody. At most MOST_CROSSINGS pairs."""
    found: dict[Pair, FilterRule] = {}
    for rule in rules:
        sources, targets = held.of(rule.sources), held.of(_targets(rule))
        if len(sources | targets) == 1 and not sources & targets & set(silent):
            continue
        for pair in product(sorted(sources), sorted(targets)):
            if _crosses(pair, peered, silent):
                found.setdefault(pair, rule)
            if len(found) >= MOST_CROSSINGS:
                break
    return [_crossing(pair, rule) for pair, rule in list(found.items())[:MOST_CROSSINGS]]


def _crosses(pair: Pair, peered: Collection[Pair], silent: Collection[str]) -> bool:
    return pair[0] in silent or pair[1] in silent or (pair[0] != pair[1] and pair not in peered)


def _targets(rule: FilterRule) -> list[str]:
    return [*(target.address for target in rule.targets), *(text for grant in rule.grants for text in grant.targets)]


def _crossing(pair: Pair, rule: FilterRule) -> Fault:
    ports = {f"{target.address}:{target.first}-{target.last}" for target in rule.targets}
    targets = sorted(ports | {text for grant in rule.grants for text in grant.targets})
    told = {"sources": list(rule.sources[:MOST_OF_A_RULE]), "targets": targets[:MOST_OF_A_RULE], "protocols": list(rule.protocols)}
    names = [account or "(nobody's)" for account in pair]
    return Fault(FILTER, f"{names[0]} -> {names[1]}", {"from": names[0], "to": names[1], "rule": told}, account=pair[1] or pair[0])


def in_force(rules: Iterable[FilterRule]) -> bool:
    """Whether a document of ACS is what the server compiled: each has the rule that matches nobody."""
    source, (target, _, _) = policy.LITERAL_RULE["src"][0], policy.LITERAL_RULE["dst"][0].rpartition(":")
    return any(_has(rule.sources, source) and _has(_targets(rule), target) for rule in rules)


def _has(texts: Iterable[str], wanted: str) -> bool:
    return any(text != "*" and intervals(text) == intervals(wanted) for text in texts)
