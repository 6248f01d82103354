"""Whether the names of a document belong together: headscale's checks after reading it, in its order and near to its words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from acs.demo.simulator import names, reading
from acs.demo.simulator.names import AUTOGROUP, DANGER_ALL, GROUP, HOST, INTERNET, MEMBER, SELF, TAG, TAGGED, USER, PolicyFault, kind_of
from acs.demo.simulator.policy import Acl, Attributes, Grant, Policy, Ssh, Test

_SOURCES, _DESTINATIONS = (MEMBER, TAGGED, DANGER_ALL), (INTERNET, MEMBER, TAGGED, SELF)
_GRANTABLE = {f"tailscale.com/cap/{name}" for name in ("drive", "relay", "webui", "kubernetes", "tsidp")}
_LONGEST_CHECK = 168 * 3600  # seconds


def parse(document: str) -> Policy:
    """The document, read and checked; an empty one allows everything. Raises: PolicyFault."""
    if not document:
        return Policy()
    try:
        found = reading.read(document)
        _check(found)
    except PolicyFault as fault:
        raise PolicyFault(f"parsing policy: {fault}") from fault
    return found


def _check(found: Policy) -> None:
    parts: list[tuple[Iterable[object], Callable[..., None]]] = [
        (found.acls or [], _check_acl),
        (found.ssh, _check_ssh),
        (found.grants or [], _check_grant),
        (found.attributes, _check_attributes),
        ([*found.tag_owners.values(), *found.route_approvers.values(), found.exit_approvers], _check_owners),
        (found.tests, _check_test),
        (found.ssh_tests, _check_ssh_test),
    ]
    for members, check in parts:
        for member in members:
            check(member, found)


def _check_acl(acl: Acl, found: Policy) -> None:
    targets = [name for name, _ in acl.dst]
    _check_sources(acl.src, found)
    _check_destinations(targets, found)
    if acl.protocol not in ("", "tcp", "udp", "sctp") and any(ports != names.ALL_PORTS for _, ports in acl.dst):
        raise PolicyFault(f'protocol does not support specific ports: "{acl.protocol}", only "*" is allowed')
    _check_self(acl.src, targets, allowed=(names.ANYONE,))


def _check_grant(grant: Grant, found: Policy) -> None:
    if not grant.services and not grant.app:
        raise PolicyFault("ip and app can not both be empty")
    for name in grant.app or {}:
        if "://" in name:
            raise PolicyFault("capability name must have the form {domain}/{path}")
        if name.startswith("tailscale.com/") and name not in _GRANTABLE:
            raise PolicyFault("capability name must not be in the tailscale.com domain")
    if grant.app and INTERNET in grant.dst:
        raise PolicyFault("cannot use app grants with autogroup:internet")
    for name in grant.dst:
        network = names.network_of(name)
        if network is not None and network.prefixlen == 0:
            raise PolicyFault(f'dst "{name}": to allow all IP addresses, use "*" or "autogroup:internet"')
    _check_sources(grant.src, found)
    _check_destinations(grant.dst, found)
    for tag in grant.via:
        if tag not in found.tag_owners:
            raise PolicyFault(f'tag "{tag}" not found')
    _check_self(grant.src, grant.dst, allowed=())


def _check_sources(sources: Iterable[str], found: Policy) -> None:
    for name in sources:
        if name == INTERNET:
            raise PolicyFault("autogroup:internet can only be used in ACL destinations")
        if name == SELF:
            raise PolicyFault('"autogroup:self" not valid on the src side of a rule')
        _check_autogroup(name, _SOURCES, "ACL sources")
        check_defined(name, found)


def _check_destinations(targets: Iterable[str], found: Policy) -> None:
    for name in targets:
        if name == DANGER_ALL:
            raise PolicyFault("cannot use autogroup:danger-all as a dst")
        _check_autogroup(name, _DESTINATIONS, "ACL destinations")
        check_defined(name, found)


def _check_self(sources: Iterable[str], targets: Iterable[str], *, allowed: tuple[str, ...]) -> None:
    """To `autogroup:self` only from people."""
    if SELF in targets and any(name != MEMBER and kind_of(name) not in (USER, GROUP, *allowed) for name in sources):
        raise PolicyFault("autogroup:self can only be used with users, groups, or supported autogroups")


def _check_autogroup(name: str, allowed: tuple[str, ...], where: str) -> None:
    if kind_of(name) == AUTOGROUP and name not in allowed:
        raise PolicyFault(f'autogroup not supported for {where}: "{name}", can be {list(allowed)}')


def check_defined(name: str, found: Policy) -> None:
    """That a group, tag or host stands in the document. Raises: PolicyFault."""
    tables: Mapping[str, tuple[Mapping[str, object], str]] = {
        GROUP: (found.groups, "group not defined in policy"),
        TAG: (found.tag_owners, "tag not found"),
        HOST: (found.hosts, "host not defined in policy"),
    }
    table, fault = tables.get(kind_of(name), ({name: None}, ""))
    if name not in table:
        raise PolicyFault(f'{fault}: "{name}"')


def _check_ssh(rule: Ssh, found: Policy) -> None:
    if not rule.action:
        raise PolicyFault("action must be specified")
    if not rule.users:
        raise PolicyFault("users must be specified")
    for user in rule.users:
        if user in ("", "*"):
            raise PolicyFault(f'user "{user}" is not valid')
    if "" in rule.environment:
        raise PolicyFault("acceptEnv values cannot be empty")
    for name in rule.src:
        _check_autogroup(name, (MEMBER, TAGGED), "SSH sources")
        check_defined(name, found)
    for name in rule.dst:
        if kind_of(name) == HOST:
            raise PolicyFault(f'invalid dst "{name}"')
        _check_autogroup(name, (MEMBER, TAGGED, SELF), "SSH destinations")
        check_defined(name, found)
    _check_ssh_pairs(rule)
    _check_period(rule)


def _check_ssh_pairs(rule: Ssh) -> None:
    """Tagged devices never to people's; a person's devices only from that person alone."""
    tagged = any(kind_of(name) == TAG or name == TAGGED for name in rule.src)
    people = {name for name in rule.src if kind_of(name) == USER}
    for name in rule.dst:
        if kind_of(name) == USER and tagged:
            raise PolicyFault(f"tags in SSH source cannot access user-owned devices ({name})")
        if kind_of(name) == USER and (people != {name} or any(kind_of(src) == GROUP or src == MEMBER for src in rule.src)):
            raise PolicyFault(f'user destination requires source to contain only that same user "{name}"')
        if name == SELF and tagged:
            raise PolicyFault("autogroup:self destination requires source to contain only users or groups, not tags or autogroup:tagged")
        if name == MEMBER and tagged:
            raise PolicyFault("tags in SSH source cannot access autogroup:member (user-owned devices)")


def _check_period(rule: Ssh) -> None:
    if rule.has_period and rule.action != "check":
        raise PolicyFault('checkPeriod is only valid with action "check"')
    if rule.check_seconds is not None and rule.check_seconds < 0:
        raise PolicyFault(f"checkPeriod {rule.check_seconds}s must be a positive duration")
    if rule.check_seconds is not None and rule.check_seconds > _LONGEST_CHECK:
        raise PolicyFault(f"checkPeriod {rule.check_seconds}s is above the max (168h)")


def _check_attributes(given: Attributes, found: Policy) -> None:
    for name in given.targets:
        if kind_of(name) == AUTOGROUP and name not in (MEMBER, TAGGED):
            raise PolicyFault(f'nodeAttrs target does not support this autogroup: "{name}", can be {[MEMBER, TAGGED]}')
        check_defined(name, found)
    if "funnel" in given.attributes:
        raise PolicyFault('nodeAttrs uses a feature headscale does not yet support: "funnel"')
    if given.pools:
        raise PolicyFault("nodeAttrs ipPool requires the IP allocator (https://github.com/juanfont/headscale/issues/2912)")


def _check_owners(owners: list[str], found: Policy) -> None:
    for name in owners:
        check_defined(name, found)


def _check_test(test: Test, found: Policy) -> None:
    if not test.accept and not test.deny:
        raise PolicyFault('test(s) failed:\ntest entry must have at least one of "accept" or "deny"')
    if test.protocol not in ("", "tcp", "udp", "sctp"):
        raise PolicyFault(f'test(s) failed:\ntest protocol must be tcp, udp, sctp, or empty: "{test.protocol}"')
    for target in (*test.accept, *test.deny):
        _check_test_target(target, found)


def _check_test_target(target: str, found: Policy) -> None:
    name, ports = names.with_ports(target)
    if name == INTERNET:
        raise PolicyFault("test(s) failed:\nautogroup:internet not valid as a test destination")
    if len(ports) != 1 or ports[0][0] != ports[0][1]:
        raise PolicyFault("test(s) failed:\ntest destination port must be a single port")
    host = found.hosts.get(name)
    if (kind_of(name) == names.ADDRESS and "/" in target) or (host is not None and host.prefixlen < host.max_prefixlen):
        raise PolicyFault("test(s) failed:\ntest destination must be a single host, not a CIDR range")


def _check_ssh_test(test: Mapping[str, object], found: Policy) -> None:
    targets = list(test["dst"]) if isinstance(test["dst"], list) else []
    if not test["src"]:
        raise PolicyFault("test(s) failed:\nSSH tests entry must have a non-empty src")
    if not targets:
        raise PolicyFault("test(s) failed:\nSSH tests entry must have at least one dst")
    for name in targets:
        network = found.hosts.get(name) or names.network_of(name)
        if name == INTERNET or (network is not None and network.prefixlen < network.max_prefixlen):
            raise PolicyFault(f'test(s) failed:\nSSH tests dst contains disallowed element "{name}"')
        if kind_of(name) == TAG and name not in found.tag_owners:
            raise PolicyFault(f'test(s) failed:\nSSH tests dst contains unknown tag "{name}"')
