"""All tenants of a cluster, their peerings and the base rules made into the one document that its server runs. Pure.

Tenants without a policy of their own reach all of their own devices. Two forms say so: one rule that joins the devices of each user (`self`), or one
rule for each tenant (`literal`). The first is cheap while all tenants are such, and dear beside rules of others (placement/policies/cost.py), so the
cheaper one is written. Tags and groups of tenants are namespaced, everything else is spelt out in tokens that nobody but the tenant has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from placement import policy
from placement.policies import cost, sizes
from placement.policies.facts import ClusterFact, PeeringFact, TenantFact, server_tag, silenced
from placement.policies.internet import common, internet
from placement.policies.rendering import render
from placement.policies.resolving import Side, Tenant, by_address
from tenants.policies.document import EVERYONE, MEMBER, SELF, TAGGED, Place, Rule, Service, SshRule, Word

PLAIN = "group:acs-plain"
SEEN = (Service("icmp"), Service("ipv6-icmp"))  # what lets a device see an exit node or router, and no more
BY_DEFAULT = Rule("default", Place(), (Word(EVERYONE),), (Word(EVERYONE),))

SELF_FORM, LITERAL_FORM = "self", "literal"


@dataclass(frozen=True)
class Statement:
    """One rule as it holds now: `account`'s devices may reach `host`'s (the same tenant's, but for a peering)."""

    account: str
    host: str
    path: str
    place: Place
    src: Side
    dst: Side
    services: tuple[Service, ...]
    app: dict[str, Any] | None = None
    via: tuple[str, ...] = ()
    peering: str = ""


@dataclass(frozen=True)
class Compiled:
    """A cluster's document. `rules` by account; `seconds` is the estimated cost of one peer calculation, `other_seconds` in the form not chosen.

    `sizes`: about how many characters of it are whose; `too_large`: whose policy is left out, for it would be too many.
    """

    text: str
    form: str
    seconds: float
    other_seconds: float
    rules: dict[str, int]
    statements: tuple[Statement, ...] = field(repr=False)
    sizes: dict[str, int] = field(default_factory=dict)
    too_large: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        return digest_of(self.text)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def compile_cluster(cluster: ClusterFact, *, form: str = "") -> Compiled:
    """The document of a cluster. `form` wishes for one of the two; without it the cheaper one is written."""
    known = tenants_of(cluster)
    plain = [tenant for tenant in known.values() if is_plain(tenant.fact)]
    own = {account: statements_of(tenant) for account, tenant in known.items() if not is_plain(tenant.fact)}
    peered = [statement for peering in cluster.peerings if (statement := peer(peering, known)) is not None]
    grants = {account: [grant for one in own[account] for grant in written(one, known[account])] for account in own}
    bridges = [grant for one in peered for grant in written(one, known[one.host])]
    taken = _sizes(known, grants, peered)
    if over := sizes.over(taken):
        return replace(compile_cluster(silenced(cluster, over), form=form), too_large=over)
    rules = {account: _weight(grants[account]) for account in grants}
    total, devices = sum(rules.values()) + _weight(bridges), sum(len(tenant.fact.devices) for tenant in known.values())
    per_device = any("via" in grant for grant in (*bridges, *(grant for those in grants.values() for grant in those)))
    costs = {
        SELF_FORM: cost.Load(devices, total + 2, own=True).seconds,
        LITERAL_FORM: cost.Load(devices, total + len(plain) + 1, own=per_device).seconds,
    }
    chosen = form or (SELF_FORM if not known or (plain and costs[SELF_FORM] <= costs[LITERAL_FORM]) else LITERAL_FORM)
    body = _body(known, plain, chosen, grants, bridges)
    statements = [one for account in known for one in own.get(account) or statements_of(known[account])]
    other = LITERAL_FORM if chosen == SELF_FORM else SELF_FORM
    return Compiled(render(body), chosen, costs[chosen], costs[other], rules, (*statements, *peered), taken)


def tenants_of(cluster: ClusterFact) -> dict[str, Tenant]:
    """The cluster's tenants by account, in order, ready to be asked."""
    outside = internet(route for tenant in cluster.tenants for route in tenant.routes)
    return {fact.account: Tenant(fact, outside) for fact in sorted(cluster.tenants, key=lambda fact: fact.account)}


def is_plain(tenant: TenantFact) -> bool:
    """Whether the rule that joins a user's untagged devices says all that the tenant's policy says."""
    if tenant.document.rules is not None or tenant.document.tags or tenant.kept_tags:
        return False
    return not any(device.tags or device.routes or device.exit for device in tenant.devices)


def statements_of(tenant: Tenant) -> list[Statement]:
    """What the tenant's rules say now; a rule whose one side stands for nobody says nothing."""
    rules = (BY_DEFAULT,) if tenant.fact.document.rules is None else tenant.fact.document.rules
    return [statement for rule in rules if (statement := _statement(tenant, rule)) is not None]


def _statement(tenant: Tenant, rule: Rule) -> Statement | None:
    src, dst = tenant.side(rule.src, towards=False), tenant.side(rule.dst, towards=True)
    via = tuple(sorted({server_tag(tenant.account, word.text) for word in rule.via}))
    if via:  # a router that is a source of its own rule would see the exit nodes of others: it is none
        there = [device for device in tenant.fact.devices if device.id in src.devices and not set(device.tags) & set(via)]
        src, dst = by_address(there), _through_routers(tenant, dst)
    if not src or not dst:
        return None
    return Statement(tenant.account, tenant.account, rule.path, rule.place, src, dst, rule.services, rule.app, via)


def _through_routers(tenant: Tenant, dst: Side) -> Side:
    """Of destinations, what a server sends by way of certain routers: routed prefixes, and the Internet as a whole."""
    routed = {network for network in dst.networks if common(network, tenant.routes)}
    outside = dst.exits and dst.networks.issuperset(tenant.internet)
    return Side(networks=frozenset(routed | (set(tenant.internet) if outside else set())), exits=outside)


def peer(peering: PeeringFact, known: dict[str, Tenant]) -> Statement | None:
    """What a peering says now: devices alone, neither routed prefixes nor exit nodes.

    Exit nodes are in it on neither side: whoever sees one may send through it what its own rules let out to the Internet.
    """
    host, guest = known.get(peering.host), known.get(peering.guest)
    if host is None or guest is None:
        return None
    src, dst = _devices_alone(guest, guest.side(peering.src, towards=False)), _devices_alone(host, host.side(peering.dst, towards=True))
    if not src or not dst:
        return None
    path = f"peering {peering.id}"
    return Statement(guest.account, host.account, path, Place(), src, dst, peering.services, peering=peering.id)


def _devices_alone(tenant: Tenant, side: Side) -> Side:
    """By address where one of them is an exit node: the names of users and tags would mean it too."""
    if any(device.id in side.devices for device in tenant.exits):
        return by_address(device for device in tenant.fact.devices if device.id in side.devices and not device.exit)
    return Side(side.tokens, side.devices)


def written(statement: Statement, host: Tenant) -> list[dict[str, Any]]:
    """The statement in grants of headscale."""
    src = _tokens(statement.src)
    to = {"src": src, "dst": _tokens(statement.dst)}
    if statement.via:  # the rule alone is in the router's own filter: whoever uses it has to see it by one of all devices
        return [_by_way_of(statement, host), {"src": src, "dst": list(statement.via), "ip": [str(service) for service in SEEN]}]
    grants: list[dict[str, Any]] = []
    if statement.services:
        grants.append({**to, "ip": [str(service) for service in statement.services]})
        if statement.dst.exits:
            grants.append({"src": src, "dst": sorted(by_address(host.exits).tokens), "ip": [str(service) for service in SEEN]})
    if statement.app is not None and statement.dst.tokens:
        grants.append({"src": src, "dst": sorted(statement.dst.tokens), "app": statement.app})
    return grants


def _by_way_of(statement: Statement, host: Tenant) -> dict[str, Any]:
    """A server knows by itself what the Internet is to a router that it names, and tells only that router of it."""
    outside = set(host.internet) if statement.dst.exits else set()
    routed = sorted(map(str, statement.dst.networks - outside))
    dst = [*routed, *(["autogroup:internet"] if outside else [])]
    return {"src": _tokens(statement.src), "dst": dst, "ip": [str(service) for service in statement.services], "via": list(statement.via)}


def _tokens(side: Side) -> list[str]:
    return [*sorted(side.tokens), *sorted(map(str, side.networks))]


def _weight(grants: Iterable[dict[str, Any]]) -> int:
    """Rules that the server makes of grants: it joins those of the same sources and protocol; one more for each that has capabilities."""
    keys = {(tuple(one["src"]), ip.rpartition(":")[0] if ip else str(one)) for one in grants for ip in one.get("ip", [""])}
    return len(keys)


def _body(
    known: dict[str, Tenant], plain: Sequence[Tenant], form: str, grants: dict[str, list[dict[str, Any]]], bridges: list[dict[str, Any]]
) -> dict[str, Any]:
    everyone = len(plain) == len(known)
    acls, literal = [policy.LITERAL_RULE], []
    if form == SELF_FORM and (plain or not known):
        acls.insert(0, policy.SELF_RULE if everyone else {**policy.SELF_RULE, "src": [PLAIN]})
    else:
        literal = [{"src": [tenant.user], "dst": [tenant.user], "ip": ["*"]} for tenant in plain]
    body = {
        "groups": {PLAIN: [tenant.user for tenant in plain]} if form == SELF_FORM and plain and not everyone else {},
        "tagOwners": {server_tag(account, tag): [] for account, tenant in known.items() for tag in sorted(tenant.tags)},
        "acls": acls,
        "grants": [*literal, *(grant for account in grants for grant in grants[account]), *bridges],
        "ssh": [entry for tenant in known.values() for entry in _all_shells(tenant)],
        "nodeAttrs": [entry for tenant in known.values() for entry in _attributes(tenant)],
    }
    return {name: part for name, part in body.items() if part}


def _sizes(known: dict[str, Tenant], grants: dict[str, list[dict[str, Any]]], peered: list[Statement]) -> dict[str, int]:
    bridges = sizes.of_bridges((one.account, one.host, grant) for one in peered for grant in written(one, known[one.host]))
    return {
        account: bridges[account] + sum(map(sizes.of_entries, (grants.get(account, ()), _all_shells(tenant), _attributes(tenant))))
        for account, tenant in known.items()
    }


def _all_shells(tenant: Tenant) -> list[dict[str, Any]]:
    return [entry for shell in tenant.fact.document.ssh for entry in _shells(tenant, shell)]


def _attributes(tenant: Tenant) -> list[dict[str, Any]]:
    wishes = ((wish, _addresses(tenant, wish.target)) for wish in tenant.fact.document.attributes)
    return [{"target": sorted(targets), "attr": list(wish.attr)} for wish, targets in wishes if targets]


def _addresses(tenant: Tenant, words: Iterable[Word]) -> frozenset[str]:
    """By address: a server refuses a whole document over a target that it does not know as a user."""
    ids = tenant.side(words, towards=False).devices
    return by_address(device for device in tenant.fact.devices if device.id in ids).tokens


def _shells(tenant: Tenant, shell: SshRule) -> list[dict[str, Any]]:
    """A rule of SSH. The server wants a user's own devices named by that user alone, so they have an entry of their own."""
    people = any(word.text in (EVERYONE, MEMBER) for word in shell.src)
    tags = _shell_tags(tenant, shell.src)
    more: dict[str, Any] = {"acceptEnv": list(shell.accept_env)} if shell.accept_env else {}
    entry = {"action": shell.action, "users": list(shell.users), **more}
    entries = []
    if people and any(word.text in (MEMBER, SELF) for word in shell.dst):
        entries.append({**entry, "src": [tenant.user], "dst": [tenant.user]})
    if targets := _shell_tags(tenant, shell.dst):
        sources = [*([tenant.user] if people else []), *tags]
        entries += [{**entry, "src": sources, "dst": targets}] if sources else []
    return entries


def _shell_tags(tenant: Tenant, words: Iterable[Word]) -> list[str]:
    named = {word.text for word in words}
    wanted = tenant.tags if named & {EVERYONE, TAGGED} else tenant.tags & named
    return sorted(server_tag(tenant.account, tag) for tag in wanted)
