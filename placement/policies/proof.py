"""What a server is asked of a document before it runs it, as its `tests`: each tenant's own, and that tenants do not reach each other. Pure.

A server sees neither rules to `autogroup:self` nor those by way of routers (`via`) when it runs tests, and refuses a whole document over a test whose
words stand for no device. So everything is asked by address, of devices that are there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product

from placement.policies.compiling import SELF_FORM, is_plain
from placement.policies.facts import ClusterFact, DeviceFact, Network, TenantFact
from placement.policies.resolving import Tenant
from tenants.policies.document import Word

# headscale 0.29.2 answers a thousand in a second of one core, of 500 devices of 50 tenants with five rules each
MOST_DENIALS = 1_000  # about tenants whose policy is new
MOST_OF_OTHERS = 300  # about all others, at each push
MOST_OWN = 500  # of one tenant
MOST_TRIED = 10 * MOST_OWN  # before those that stand there twice are left out
MOST_OF_A_WORD = 10  # devices that a word of a test stands for
PORTS = (22, 80, 443, 53, 3389, 5432, 8080, 65535)
MOST_NAMED_PORTS = 5  # that documents of the two tenants name, besides

# headscale 0.29 takes messages of 4 MiB (gRPC's default), and 0.30's API bodies of 1 MiB
BODY = 1_000_000
LEAST_ROOM = 100_000  # bytes for tests beside a document that fills the body alone
MOST_AT_ONCE = 2_000
AROUND = 80  # bytes that a question takes beside its addresses, at most

LINE = re.compile(r"^(\S+) -> (\S+)(?: \((\w+)\))?: expected ")


@dataclass(frozen=True)
class Question:
    """Must `src` (an address) reach `dst` (an address and a port), or must it not. `accounts`: whose they are, one where it is a tenant's own test."""

    src: str
    dst: str
    reached: bool
    accounts: tuple[str, ...]
    protocol: str = ""

    @property
    def is_own(self) -> bool:
        return len(self.accounts) == 1


# ---- tenants' own tests --------------------------------------------------------------------------------------------------


def own(tenant: Tenant, form: str) -> list[Question]:
    """The tests of the tenant's document, of devices that it has now. None in the form whose rules a server's tests do not see.

    Each device of a source is asked about by itself: a server is content where one of several is denied. Of several destinations one has to be
    reached, and none may be that must not.
    """
    if form == SELF_FORM and is_plain(tenant.fact):
        return []
    return list(islice(dict.fromkeys(islice(_asked(tenant), MOST_TRIED)), MOST_OWN))


def _asked(tenant: Tenant) -> Iterator[Question]:
    for test in tenant.fact.document.tests:
        sources = _spots(tenant, test.src, towards=False)
        targets = chain(
            ((True, _any_of(tenant, word), port) for word, port in test.accept),
            ((False, _spots(tenant, word, towards=True), port) for word, port in test.deny),
        )
        for reached, there, port in targets:
            for src, dst in product(sources, there):
                if src != dst:
                    yield Question(src, _with_port(dst, port), reached, (tenant.account,), test.protocol)


def _any_of(tenant: Tenant, word: Word) -> list[str]:
    """What to ask for a destination of which one device has to be reached: a device, or a name under which the server knows several."""
    by_routers = any(rule.via for rule in tenant.fact.document.rules or ())
    there = _spots(tenant, word, towards=True, routed=not by_routers)
    tokens = tenant.of(word.text, towards=True).tokens
    return there if len(there) == 1 else list(tokens) if there and len(tokens) == 1 else []


def _spots(tenant: Tenant, word: Word, *, towards: bool, routed: bool = True) -> list[str]:
    """One address of each device that the word stands for, and single addresses behind routers."""
    side = tenant.of(word.text, towards=towards)
    found = [spot for device in tenant.fact.devices if device.id in side.devices and (spot := _spot(device))]
    beyond = sorted(str(network.network_address) for network in side.networks if network.num_addresses == 1) if routed else []
    return [*found[:MOST_OF_A_WORD], *beyond[:MOST_OF_A_WORD]]


def _spot(device: DeviceFact) -> str:
    """IPv4 where there is one."""
    return _address(device, 4) or _address(device, 6)


def _address(device: DeviceFact, version: int) -> str:
    return next((_bare(network) for network in device.addresses if network.version == version), "")


def _bare(network: Network) -> str:
    return str(network.network_address)


def _with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if address.count(":") > 1 else f"{address}:{port}"


# ---- tenants among each other --------------------------------------------------------------------------------------------


def denials(fact: ClusterFact, about: Collection[str], *, turn: int, most: int = MOST_DENIALS) -> list[Question]:
    """That tenants of `about` and others do not reach each other, what peerings allow aside.

    At most `most`, shared evenly between the pairs. Where there are more pairs than that, `turn` decides which ones: by and by all come up.
    """
    shown = {tenant.account: found for tenant in fact.tenants if (found := representatives(tenant))}
    known = {tenant.account: tenant for tenant in fact.tenants}
    joined = {(peering.guest, peering.host) for peering in fact.peerings}
    accounts = sorted(shown)
    pairs = len([account for account in accounts if account in about]) * max(0, len(accounts) - 1)
    share = max(4, most // max(1, pairs))
    asked: list[Question] = []
    for pair in partners(accounts, about, turn):
        if len(asked) >= most:
            break
        ports = _ports(*(known[account] for account in pair), turn=turn)
        asked += islice(_between(pair, shown, ports, joined), share)
    return asked[:most]


def representatives(tenant: TenantFact) -> list[DeviceFact]:
    """A device for each distinct set of tags: those of one set are alike to every rule but one that names a device."""
    found: dict[tuple[str, ...], DeviceFact] = {}
    for device in tenant.devices:
        if device.addresses:
            found.setdefault(tuple(sorted(device.tags)), device)
    return [found[tags] for tags in sorted(found)]


def partners(accounts: Sequence[str], about: Collection[str], turn: int) -> Iterator[tuple[str, str]]:
    """Pairs of which one at least is of `about`, each once: everybody beside somebody of a ring first, then beside the next one. `turn` turns the ring."""
    count, seen = len(accounts), set()
    places = [place for place, account in enumerate(accounts) if account in about]
    first = turn % max(1, len(places))
    for step in range(count - 1):
        distance = 1 + (turn + step) % (count - 1)
        for place in (*places[first:], *places[:first]):
            one, other = accounts[place], accounts[(place + distance) % count]
            pair = frozenset((one, other))
            if pair not in seen:
                seen.add(pair)
                yield one, other


def _ports(one: TenantFact, other: TenantFact, *, turn: int) -> list[int]:
    """Some that most networks use, another one first at each turn, and those that the two documents open."""
    turned = [*PORTS[turn % len(PORTS) :], *PORTS[: turn % len(PORTS)]]
    services = {service for tenant in (one, other) for rule in tenant.document.rules or () for service in rule.services}
    named = sorted({service.first for service in services if not service.all_ports})[:MOST_NAMED_PORTS]
    return list(dict.fromkeys([turned[0], *named, *turned[1:]]))


def _between(
    pair: tuple[str, str], shown: Mapping[str, list[DeviceFact]], ports: list[int], joined: Collection[tuple[str, str]]
) -> Iterator[Question]:
    """Both directions, IPv4 with every port and IPv6 with the first."""
    for port in ports:
        for devices in product(shown[pair[0]], shown[pair[1]]):
            for version in (4, 6) if port == ports[0] else (4,):
                here, there = (_address(device, version) for device in devices)
                for src, dst, accounts in ((here, there, pair), (there, here, pair[::-1])):
                    if here and there and accounts not in joined:
                        yield Question(src, _with_port(dst, port), False, accounts)


# ---- on the wire -----------------------------------------------------------------------------------------------------------


def with_tests(text: str, questions: Iterable[Question]) -> str:
    """A compiled document with `tests`."""
    entries: dict[tuple[str, str], dict[str, list[str]]] = {}
    for question in questions:
        entry = entries.setdefault((question.src, question.protocol), {})
        entry.setdefault("accept" if question.reached else "deny", []).append(question.dst)
    tests = [{"src": src, **({"proto": protocol} if protocol else {}), **told} for (src, protocol), told in entries.items()]
    if not tests:
        return text
    lines = ",\n".join(f"  {json.dumps(test)}" for test in tests)
    return f'{text.rstrip().removesuffix("}").rstrip()},\n "tests": [\n{lines}\n ]\n}}\n'


def batches(text: str, questions: Iterable[Question], *, most: int = MOST_DENIALS, body: int = BODY) -> Iterator[list[Question]]:
    """The questions in as many requests as their number and sizes make necessary; one without any where there are none."""
    room = max(LEAST_ROOM, body - len(json.dumps(text)))
    batch: list[Question] = []
    left, asked = room, False
    for question in questions:
        size = len(question.src) + len(question.dst) + AROUND
        if batch and (size > left or len(batch) >= min(most, MOST_DENIALS)):
            yield batch
            batch, left = [], room
        batch.append(question)
        left, asked = left - size, True
    if batch or not asked:
        yield batch


def failed(reason: str, questions: Iterable[Question]) -> list[Question]:
    """Which questions a server's refusal says were answered otherwise than they should."""
    said = {(found[1], found[2], found[3] or "") for line in reason.splitlines() if (found := LINE.match(line.strip()))}
    return [question for question in questions if (question.src, question.dst, question.protocol) in said]
