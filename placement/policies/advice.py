"""What in a policy is allowed and says nothing: rules that let nobody pass, tags without devices, prefixes that nobody routes, groups that nobody uses. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from placement.policies.compiling import Statement
from placement.policies.facts import TAILNET
from placement.policies.internet import common
from placement.policies.resolving import Side, Tenant, prefix_of
from tenants.policies.document import Place, Rule, Word

IDLE_RULE, IDLE_TAG, UNROUTED, UNUSED_GROUP = "idle-rule", "idle-tag", "unrouted-prefix", "unused-group"


@dataclass(frozen=True, order=True)
class Advice:
    """One thing that the author may not have meant. `code` is stable."""

    place: Place
    code: str
    reason: str
    path: str = ""


def advise(tenant: Tenant, statements: tuple[Statement, ...]) -> tuple[Advice, ...]:
    """In the order of the text. `statements` are what the tenant's rules say now."""
    found = {*_idle_rules(tenant, statements), *_idle_tags(tenant), *_unrouted(tenant), *_unused_groups(tenant)}
    return tuple(sorted(found))


def _idle_rules(tenant: Tenant, statements: tuple[Statement, ...]) -> Iterator[Advice]:
    own = (one for one in statements if one.account == tenant.account == one.host)
    speaking = {one.path for one in own if _is_there(one.src) and _is_there(one.dst)}
    for rule in tenant.fact.document.rules or ():
        if rule.path in speaking:
            continue
        yield Advice(rule.place, IDLE_RULE, _why_idle(tenant, rule), rule.path)


def _is_there(side: Side) -> bool:
    """A tag that no device has is known to the server, and nobody for all that."""
    return bool(side.devices or side.networks)


def _why_idle(tenant: Tenant, rule: Rule) -> str:
    if not _is_there(tenant.side(rule.src, towards=False)):
        return _("This rule lets nobody pass now: its sources stand for nothing that the network has.")
    return _("This rule lets nobody pass now: its destinations stand for nothing that the network has.")


def _idle_tags(tenant: Tenant) -> Iterator[Advice]:
    for tag, owners in tenant.fact.document.tags.items():
        if not tenant.of(tag, towards=False).devices:
            place = owners[0].place if owners else Place()
            yield Advice(place, IDLE_TAG, _("No device has %(tag)s now.") % {"tag": tag}, f'tagOwners["{tag}"]')


def _unrouted(tenant: Tenant) -> Iterator[Advice]:
    hosts = tenant.fact.document.hosts
    for rule in tenant.fact.document.rules or ():
        for word, towards in (*((word, False) for word in rule.src), *((word, True) for word in rule.dst)):
            network = prefix_of(hosts[word.text].text if word.text in hosts else word.text)
            if network is None or common(network, TAILNET):
                continue
            side = tenant.of(word.text, towards=towards)
            if not side.networks and not side.devices:
                reason = _("No approved route covers %(prefix)s, so this means nothing now.") % {"prefix": _named(word, network)}
                yield Advice(word.place, UNROUTED, reason, word.path or rule.path)


def _named(word: Word, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return word.text if word.text == str(network) or prefix_of(word.text) else f"{word.text} ({network})"


def _unused_groups(tenant: Tenant) -> Iterator[Advice]:
    document = tenant.fact.document
    used = {word.text for word in document.words()} | {word.text for owners in document.tags.values() for word in owners}
    for group, members in document.groups.items():
        if group not in used:
            place = members[0].place if members else Place()
            yield Advice(place, UNUSED_GROUP, _("Nothing in the policy uses %(group)s.") % {"group": group}, f'groups["{group}"]')
