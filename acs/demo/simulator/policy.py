"""headscale's policy document as it is held: names, not yet addresses. reading.py makes it of a text, validation.py checks it.

`sshTests` are checked for their form and not run; attributes of nodes and SSH rules are checked and, having no client to tell, without effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from acs.demo.simulator.config import Network
from acs.demo.simulator.names import SELF, Ports, Service


@dataclass(frozen=True)
class Acl:
    """A rule as written; it works as the grants that it means."""

    src: list[str]
    dst: list[tuple[str, Ports]]
    protocol: str


@dataclass(frozen=True)
class Grant:
    """Who may reach what: names, not yet addresses. `app`: capabilities by name."""

    src: list[str]
    dst: list[str]
    services: list[Service]
    app: dict[str, list[Any] | None] | None = None
    via: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ssh:
    """`check_seconds`: None where no period is given or it is `always`; `has_period`: whether one is."""

    action: str
    src: list[str]
    dst: list[str]
    users: list[str]
    environment: list[str]
    check_seconds: float | None
    has_period: bool


@dataclass(frozen=True)
class Attributes:
    """Node attributes for all that `targets` mean."""

    targets: list[str]
    attributes: list[str]
    pools: list[str]


@dataclass(frozen=True)
class Test:
    """What a document says of itself, tried before it is taken."""

    src: str
    protocol: str
    accept: list[str]
    deny: list[str]


@dataclass(frozen=True)
class Policy:
    """A document that can be read. `acls` and `grants` both None: everything is allowed."""

    groups: dict[str, list[str]] = field(default_factory=dict)
    hosts: dict[str, Network] = field(default_factory=dict)
    tag_owners: dict[str, list[str]] = field(default_factory=dict)
    acls: list[Acl] | None = None
    grants: list[Grant] | None = None
    attributes: list[Attributes] = field(default_factory=list)
    route_approvers: dict[Network, list[str]] = field(default_factory=dict)
    exit_approvers: list[str] = field(default_factory=list)
    ssh: list[Ssh] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    ssh_tests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rules(self) -> list[Grant] | None:
        """Grants, then rules as grants; None: everything is allowed."""
        if self.acls is None and self.grants is None:
            return None
        return [*(self.grants or []), *(grant for acl in self.acls or [] for grant in _grants_of(acl))]


def _grants_of(acl: Acl) -> list[Grant]:
    """Beside a destination that is no autogroup, those to `autogroup:self` come last."""
    grants = [Grant(acl.src, [name], [Service(acl.protocol, ports)]) for name, ports in acl.dst]
    if any(not name.startswith("autogroup:") for name, _ in acl.dst):
        grants.sort(key=lambda grant: grant.dst == [SELF])
    return grants


def tag_owners(policy: Policy, tag: str) -> set[str]:
    """Users and groups that own a tag, also through other tags; a circle adds nothing."""
    found: set[str] = set()
    seen, left = set(), [tag]
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            owners = policy.tag_owners.get(one, [])
            left += [name for name in owners if name.startswith("tag:")]
            found |= {name for name in owners if not name.startswith("tag:")}
    return found
