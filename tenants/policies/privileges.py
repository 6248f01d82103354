"""`autoApprovers` and `nodeAttrs`: what devices may announce without being asked, and what they are told of themselves. Pure."""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tenants.policies import names
from tenants.policies.document import Attribute, Word
from tenants.policies.hujson import shortened
from tenants.policies.parts import Field, Part, Refusal, record
from tenants.policies.words import APPROVER, TARGET, words

MOST_ROUTES = 500
DEVICES = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))  # where headscale's own addresses are
ATTRIBUTE = re.compile(r"[A-Za-z0-9:/._?=-]{1,100}\Z")
UNSUPPORTED = frozenset({"funnel"})  # nodeAttrUnsupportedCaps of headscale 0.29.2
REFUSED_IN_ATTRIBUTES = {
    "ippool": gettext_lazy("ipPool is not supported: headscale gives addresses out by itself."),
    "app": gettext_lazy("app is not supported in nodeAttrs: headscale has no app connectors."),
}


def approvers(part: Part) -> dict[str, Any]:
    """`autoApprovers`: `routes` and `exitNode`. Raises Refusal."""
    return record(part, APPROVERS, {})


def routes(part: Part) -> dict[str, tuple[Word, ...]]:
    """Prefixes in canonical form, each with who may announce it. Raises Refusal."""
    found: dict[str, tuple[Word, ...]] = {}
    for written, member in part.members(MOST_ROUTES):
        prefix, listed = member.attempt(partial(_route, written=written)), member.attempt(words(APPROVER))
        if prefix in found:
            member.fault(_("The prefix %(prefix)s stands here for the second time.") % {"prefix": prefix}, member.node.key)
        elif prefix is not None and listed is not None:
            found[prefix] = listed
    return found


def attribute(part: Part) -> Attribute:
    """An entry of `nodeAttrs`. Raises Refusal."""
    entry = record(part, ATTRIBUTES, REFUSED_IN_ATTRIBUTES)
    return Attribute(part.path, part.place, entry.get("target", ()), entry.get("attr", ()))


def _route(part: Part, written: str) -> str:
    try:
        found = names.network(written)
    except Refusal as refusal:
        raise Refusal(refusal.reason, part.node.key) from None
    if found.prefixlen == 0:
        raise Refusal(_("Exit nodes are approved under exitNode."), part.node.key)
    if any(found.version == own.version and found.overlaps(own) for own in DEVICES):
        raise Refusal(_("%(prefix)s has addresses of devices themselves: nobody may route them.") % {"prefix": found}, part.node.key)
    return str(found)


def _attr(part: Part) -> str:
    name = part.require(str)
    if name in UNSUPPORTED:
        raise Refusal(_("headscale does not support %(name)s.") % {"name": name})
    if not ATTRIBUTE.match(name):
        raise Refusal(_("“%(name)s” is no attribute of a device.") % {"name": shortened(name)})
    return name


APPROVERS = {"routes": Field(routes), "exitNode": Field(words(APPROVER))}
ATTRIBUTES = {"target": Field(words(TARGET), needed=True), "attr": Field(lambda part: part.each(_attr))}
