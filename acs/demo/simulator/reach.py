"""What headscale tries before it takes a document: whether its names are unambiguous, and what its `tests` say of it.

The tests see the rules that hold for all nodes alike: those to `autogroup:self` and through routers (`via`) are not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from acs.demo.simulator import ipsets
from acs.demo.simulator.filters import Compiler, Rule
from acs.demo.simulator.ipsets import IPSet
from acs.demo.simulator.names import PolicyFault, Ports, kind_of, protocol_numbers, with_ports
from acs.demo.simulator.policy import Test
from acs.demo.simulator.world import World

_ANY_PROTOCOL = [1, 6, 17, 58]  # ICMP, TCP, UDP, ICMPv6: what a test without `proto` means


def check(world: World) -> None:
    """Raises: PolicyFault."""
    for name in _names_of_users(world):
        for token in world.tokens(name):
            if len(world.users_of(token)) > 1:
                raise PolicyFault(f'validating policy user references: multiple users found: token "{token}"')
    rules = Compiler(world).for_all()
    faults = [fault for test in world.policy.tests for fault in _run(test, world, rules)]
    if faults:
        raise PolicyFault("test(s) failed:\n" + "\n".join(faults))


def check_attributes(world: World) -> None:
    """That every target of a node attribute is known: headscale looks after it has taken the document. Raises: PolicyFault."""
    for given in world.policy.attributes:
        for name in given.targets if given.attributes else []:
            try:
                world.strictly(name)
            except PolicyFault as fault:
                raise PolicyFault(f"compiling nodeAttrs: nodeAttrs target [{' '.join(given.targets)}]: {fault}") from fault


def _names_of_users(world: World) -> Iterable[str]:
    """Where headscale looks for ambiguous users; it does not in grants and node attributes."""
    found = world.policy
    for owners in (*found.tag_owners.values(), *found.route_approvers.values(), found.exit_approvers):
        yield from (name for name in owners if "@" in name)
    yield from found.groups
    for acl in found.acls or []:
        yield from (*acl.src, *(name for name, _ in acl.dst))
    for rule in found.ssh:
        yield from (*rule.src, *rule.dst)


def _run(test: Test, world: World, rules: list[Rule]) -> list[str]:
    """What is wrong, a line each."""
    try:
        kind_of(test.src)
        sources = world.strictly(test.src)
    except PolicyFault as fault:
        return [f'{test.src}: failed to resolve source "{test.src}": {fault}']
    if not sources:
        return [f'{test.src}: source "{test.src}" resolved to no IP addresses']
    faults = []
    for wanted, targets in ((True, test.accept), (False, test.deny)):
        for target in targets:
            faults += _try(test, sources, target, world, rules, wanted=wanted)
    return faults


def _try(test: Test, sources: IPSet, target: str, world: World, rules: list[Rule], *, wanted: bool) -> list[str]:
    name, ports = with_ports(target)
    try:
        targets = world.strictly(name)
    except PolicyFault as fault:
        return [f'{test.src}: error testing "{target}": resolving destination: {fault}']
    if not targets:
        return [f'{test.src}: error testing "{target}": destination resolved to no IP addresses: "{target}"']
    protocols = protocol_numbers(test.protocol) or _ANY_PROTOCOL
    if (
        _all_reach(sources, targets, ports, [rule for rule in rules if not rule.protocols or set(rule.protocols) & set(protocols)])
        == wanted
    ):
        return []
    asked = f" ({test.protocol})" if test.protocol else ""
    return [f"{test.src} -> {target}{asked}: expected {'ALLOWED, got DENIED' if wanted else 'DENIED, got ALLOWED'}"]


def _all_reach(sources: IPSet, targets: IPSet, ports: Ports, rules: Sequence[Rule]) -> bool:
    """Every source must; one address of the target and one port is enough."""
    for source in sources.networks():
        heard = [rule for rule in rules if any(ipsets.read(text).overlaps(source) for text in rule.sources or [])]
        if not any(_is_open(rule, targets, ports) for rule in heard):
            return False
    return True


def _is_open(rule: Rule, targets: IPSet, ports: Ports) -> bool:
    return any(
        any(first <= asked[0] and asked[1] <= last for asked in ports) and any(map(ipsets.read(ip).overlaps, targets.networks()))
        for ip, (first, last) in rule.to
    )
