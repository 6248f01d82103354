"""`acls` and `grants`: who may reach what. Pure."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tenants.policies import services
from tenants.policies.document import EVERYONE, INTERNET, MEMBER, SELF, Rule, Service, Word
from tenants.policies.hujson import shortened
from tenants.policies.parts import Field, Part, Refusal, record
from tenants.policies.words import DESTINATION, SOURCE, VIA, named, words

LONGEST_APP = 10_000  # characters of JSON
NO_POSTURE = gettext_lazy("headscale does not support device postures.")
REFUSED_IN_ACL = {
    "srcposture": NO_POSTURE,
    "users": gettext_lazy("“users” is the old name of src: write src."),
    "ports": gettext_lazy("“ports” is the old name of dst: write dst."),
}
REFUSED_IN_GRANT = {"srcposture": NO_POSTURE}
GRANTABLE = frozenset(f"tailscale.com/cap/{name}" for name in ("drive", "relay", "webui", "kubernetes", "tsidp"))
CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}/[!-~]{1,200}\Z")


def acl(part: Part) -> tuple[Rule, ...]:
    """An entry of `acls`: a Rule for each set of ports, in the order in which they first stand. Raises Refusal."""
    entry = record(part, ACL, REFUSED_IN_ACL, overlooked="#")  # headscale-admin keeps its notes in such fields
    name, src = entry.get("proto", ""), entry.get("src", ())
    reached: dict[tuple[Service, ...], list[Word]] = {}
    for word, spans in entry.get("dst", ()):
        reached.setdefault(_served(part, name, spans, word), []).append(word)
    if any(word.text == SELF for group in reached.values() for word in group):
        _own(part, src, everyone=True)
    if not reached:
        reached = {services.served(name, services.ports("*")): []}
    return tuple(Rule(part.path, part.place, src, tuple(dst), served) for served, dst in reached.items())


def grant(part: Part) -> Rule:
    """An entry of `grants`. One that gives only capabilities has no services. Raises Refusal."""
    entry = record(part, GRANT, REFUSED_IN_GRANT)
    src, dst, app = entry.get("src", ()), entry.get("dst", ()), entry.get("app") or None
    served = tuple(dict.fromkeys(service for group in entry.get("ip", ()) for service in group))
    if not any(member.node.value for name, member in part.members() if name.lower() in ("ip", "app")):
        part.fault(_("A grant has ip, app or both: without them it gives nothing."))
    for word in dst:
        if word.text == INTERNET and app:
            part.fault(_("Capabilities (app) are of your own devices: they cannot be granted on autogroup:internet."), word.place)
    if any(word.text == SELF for word in dst):
        _own(part, src, everyone=False)
    return Rule(part.path, part.place, src, dst, served, app, entry.get("via", ()))


def destination(part: Part) -> tuple[Word, tuple[services.Span, ...]]:
    """An entry of `dst` in `acls`: a name with its ports. Raises Refusal."""
    name, spans = services.split(part.text())
    return named(part, name, DESTINATION), services.ports(spans)


def protocol(part: Part) -> str:
    """`proto`: a name or a number. Raises Refusal."""
    number = type(part.node.value) is int
    return services.protocol(str(part.node.value) if number else part.require(str))


def only_accept(part: Part) -> str:
    """`action` of `acls`. Raises Refusal."""
    if (action := part.require(str)) != "accept":
        raise Refusal(
            _("The action “%(action)s” does not exist: rules only accept, and what no rule accepts is denied.")
            % {"action": shortened(action)}
        )
    return action


def capabilities(part: Part) -> dict[str, Any]:
    """`app`: names of capabilities, each with a list of anything. Raises Refusal."""
    read = ((name, member.attempt(partial(_capability, name=name))) for name, member in part.members())
    app = {name: values for name, values in read if values is not None}
    if (length := len(json.dumps(app, ensure_ascii=False))) > LONGEST_APP:
        raise Refusal(
            _("The capabilities have %(length)d characters; at most %(longest)d are allowed.") % {"length": length, "longest": LONGEST_APP}
        )
    return app


def _capability(part: Part, name: str) -> list[Any]:
    if not CAPABILITY.match(name) or "://" in name:
        raise Refusal(
            _("“%(name)s” is no name of a capability: write it as example.com/cap/name.") % {"name": shortened(name)}, part.node.key
        )
    if name.lower().startswith("tailscale.com/") and name not in GRANTABLE:
        raise Refusal(_("“%(name)s” is given by the server alone: no grant may name it.") % {"name": shortened(name)}, part.node.key)
    part.require(list)
    plain: list[Any] = part.node.plain()
    return plain


def _served(part: Part, name: str, spans: tuple[services.Span, ...], word: Word) -> tuple[Service, ...]:
    try:
        return services.served(name, spans)
    except Refusal as refusal:
        part.fault(refusal.reason, word.place)
        return ()


def _own(part: Part, src: tuple[Word, ...], *, everyone: bool) -> None:
    """autogroup:self is somebody's own devices: each source must be people."""
    for word in src:
        people = word.text == MEMBER or word.text.startswith("group:") or "@" in word.text
        if not people and not (everyone and word.text == EVERYONE):
            reason = _("autogroup:self is the devices of whoever asks, so that all of src must be people: “%(name)s” is not.")
            part.fault(reason % {"name": word.text}, word.place)


ACL = {
    "action": Field(only_accept, needed=True),
    "proto": Field(protocol),
    "src": Field(words(SOURCE), needed=True),
    "dst": Field(lambda part: part.each(destination), needed=True),
}
GRANT = {
    "src": Field(words(SOURCE), needed=True),
    "dst": Field(words(DESTINATION), needed=True),
    "ip": Field(lambda part: part.each(lambda item: services.services(item.require(str)))),
    "app": Field(capabilities),
    "via": Field(words(VIA)),
}
