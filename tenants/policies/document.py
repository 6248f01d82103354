"""A tenant's network policy, read: words of the tenant's own and the places where they stand. Pure.

Nothing here knows devices, addresses or servers: what a word stands for is found when the policy is compiled (placement/policies).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

EVERYONE = "*"
MEMBER, TAGGED, SELF, INTERNET = "autogroup:member", "autogroup:tagged", "autogroup:self", "autogroup:internet"


@dataclass(frozen=True, order=True)
class Place:
    """Where in the text something stands: line and column, both from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Fault:
    """Why a document is refused. `path` names the part, such as `acls[2].dst[0]`."""

    reason: str
    place: Place
    path: str = ""

    def __str__(self) -> str:
        return f"line {self.place.line}, column {self.place.column}: {self.reason}"


class PolicyRefused(Exception):
    """A document that cannot be used. `faults` are in the order of the text, at least one."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True)
class Word:
    """One name of the document. Two words are the same whose text is the same, wherever they stand.

    `text` is `*`, `autogroup:...`, `group:NAME`, `tag:NAME`, a member's e-mail address, an address or prefix in canonical form, or else the name of
    a host of the document or of a device.
    """

    text: str
    place: Place = field(default=Place(), compare=False)
    path: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, order=True)
class Service:
    """What of a destination may be reached: a protocol and a span of ports (0-65535 is all of them).

    `protocol` is empty for what a client takes for all (TCP, UDP, ICMP), else a name in headscale's words (`tcp`, `icmp`) or an IANA number as text.
    """

    protocol: str = ""
    first: int = 0
    last: int = 65535

    @property
    def all_ports(self) -> bool:
        return (self.first, self.last) == (0, 65535)

    def __str__(self) -> str:
        """As grants of headscale write it: `*`, `443`, `tcp:80-90`, `icmp:*`."""
        ports = "*" if self.all_ports else str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.protocol}:{ports}" if self.protocol else ports


ALL_SERVICES = (Service(),)


@dataclass(frozen=True)
class Rule:
    """Who may reach what. An entry of `acls` whose destinations have different ports is one Rule for each set of ports, under the same path.

    `app`: capabilities of a grant, as they were written. `via`: tags of the routers that the traffic must pass.
    """

    path: str
    place: Place
    src: tuple[Word, ...]
    dst: tuple[Word, ...]
    services: tuple[Service, ...] = ALL_SERVICES
    app: dict[str, Any] | None = None
    via: tuple[Word, ...] = ()


@dataclass(frozen=True)
class SshRule:
    """Who may open a shell where, as whom."""

    path: str
    place: Place
    action: str  # accept
    src: tuple[Word, ...]
    dst: tuple[Word, ...]
    users: tuple[str, ...]
    accept_env: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attribute:
    """Node attributes for devices."""

    path: str
    place: Place
    target: tuple[Word, ...]
    attr: tuple[str, ...]


@dataclass(frozen=True)
class Assertion:
    """One entry of `tests`: what `src` must reach and must not. A destination is a word and one port; `protocol` is empty, tcp, udp or sctp."""

    path: str
    place: Place
    src: Word
    accept: tuple[tuple[Word, int], ...] = ()
    deny: tuple[tuple[Word, int], ...] = ()
    protocol: str = ""


@dataclass(frozen=True)
class Document:
    """A whole policy. `groups`, `hosts` and `tags` are keyed by their names as rules write them (`group:dev`, `printer`, `tag:web`).

    `rules` None: neither `acls` nor `grants` was written, so every device of the tenant reaches every other; an empty one lets nobody reach anybody.
    `routes` maps a prefix to who may announce it without being asked; `exit_nodes` are those whose exit routes are.
    """

    groups: dict[str, tuple[Word, ...]] = field(default_factory=dict)
    hosts: dict[str, Word] = field(default_factory=dict)
    tags: dict[str, tuple[Word, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] | None = None
    ssh: tuple[SshRule, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    routes: dict[str, tuple[Word, ...]] = field(default_factory=dict)
    exit_nodes: tuple[Word, ...] = ()
    tests: tuple[Assertion, ...] = ()

    def words(self) -> Iterator[Word]:
        """Every word that stands for somebody, wherever it is used; some more than once."""
        for members in self.groups.values():
            yield from members
        yield from self.hosts.values()
        for rule in self.rules or ():
            yield from (*rule.src, *rule.dst, *rule.via)
        for shell in self.ssh:
            yield from (*shell.src, *shell.dst)
        for attribute in self.attributes:
            yield from attribute.target
        for approvers in self.routes.values():
            yield from approvers
        yield from self.exit_nodes
        for test in self.tests:
            yield test.src
            yield from (word for word, _ in (*test.accept, *test.deny))


NOTHING_WRITTEN = Document()
