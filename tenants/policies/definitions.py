"""`groups`, `tagOwners` and `hosts`: the names that the rest of a document uses. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from graphlib import CycleError, TopologicalSorter

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tenants.policies import names
from tenants.policies.document import Word
from tenants.policies.hujson import Node, shortened
from tenants.policies.parts import Part, Reading, Refusal
from tenants.policies.words import IN_GROUP, TAG_OWNER, word, words

MOST_GROUPS, MOST_MEMBERS, MOST_TAGS, MOST_HOSTS = 100, 1000, 500, 500
WRONG_KEYS = {
    names.GROUP: gettext_lazy("“%(name)s” is no group: write group:NAME."),
    names.TAG: gettext_lazy("“%(name)s” is no tag: write tag:NAME."),
    names.DEVICE: gettext_lazy("“%(name)s” cannot be the name of a host: it means something else already."),
}


def defined(root: Node) -> Reading:
    """The names that a document defines, whether or not they are any good: what uses them is no second fault."""
    members: dict[str, Node] = root.value if isinstance(root.value, dict) else {}
    sections = {name.lower(): node.value for name, node in members.items() if isinstance(node.value, dict)}
    groups, tags, hosts = (sections.get(name, {}) for name in ("groups", "tagowners", "hosts"))
    networks = (name.lower() for name, node in hosts.items() if isinstance(node.value, str) and _is_network(node.value))
    return Reading(frozenset(groups), frozenset(tags), frozenset(name.lower() for name in hosts), frozenset(networks))


def groups(part: Part) -> dict[str, tuple[Word, ...]]:
    """`groups`. Raises Refusal."""
    return _keyed(part, names.GROUP, MOST_GROUPS, lambda item: item.each(lambda member: word(member, IN_GROUP), MOST_MEMBERS))


def tags(part: Part) -> dict[str, tuple[Word, ...]]:
    """`tagOwners`; tags may own each other, but not in a ring. Raises Refusal."""
    owners = _keyed(part, names.TAG, MOST_TAGS, words(TAG_OWNER))
    # a tag that owns itself is how Tailscale's users let a credential of a tag make more of it
    order = TopologicalSorter({tag: [owner.text for owner in listed if owner.text != tag] for tag, listed in owners.items()})
    try:
        order.prepare()
    except CycleError as ring:
        reason = _("These tags own each other in a ring: %(ring)s.") % {"ring": shortened(", ".join(sorted(set(ring.args[1]))))}
        first = next(member for name, member in part.members(MOST_TAGS) if name in ring.args[1])
        first.fault(reason, first.node.key)
    return owners


def hosts(part: Part) -> dict[str, Word]:
    """`hosts`: names of addresses and prefixes. Raises Refusal."""
    found: dict[str, Word] = {}
    for name, member in part.members(MOST_HOSTS):
        if (alias := member.attempt(partial(_key, name=name, kind=names.DEVICE))) is None:
            continue
        if alias in found:
            member.fault(_("The host %(name)s stands here for the second time.") % {"name": alias}, member.node.key)
        elif (place := member.attempt(_host)) is not None:
            found[alias] = place
    return found


def _keyed(part: Part, kind: str, most: int, read: Callable[[Part], tuple[Word, ...]]) -> dict[str, tuple[Word, ...]]:
    found = {}
    for name, member in part.members(most):
        member.attempt(partial(_key, name=name, kind=kind))
        if (listed := member.attempt(read)) is not None:
            found[name] = listed
    return found


def _key(part: Part, name: str, kind: str) -> str:
    """The name of a member, which must be of that kind. Raises Refusal."""
    try:
        found, kept = names.classify(name)
    except Refusal as refusal:
        raise Refusal(refusal.reason, part.node.key) from None
    if found != kind:
        raise Refusal(WRONG_KEYS[kind] % {"name": shortened(name)}, part.node.key)
    return kept


def _host(part: Part) -> Word:
    kind, kept = names.classify(part.text())
    if kind not in (names.ADDRESS, names.PREFIX):
        raise Refusal(_("A host is an IP address or prefix."))
    return Word(kept, part.place, part.path)


def _is_network(text: str) -> bool:
    try:
        return names.classify(text.strip(" "))[0] == names.PREFIX
    except Refusal:
        return False
