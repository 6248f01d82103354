"""`tests`: what a policy must allow and must not, said by whoever wrote it. Pure."""

from __future__ import annotations

from django.utils.translation import gettext as _

from tenants.policies import services
from tenants.policies.document import Assertion, Word
from tenants.policies.parts import Field, Part, Refusal, record
from tenants.policies.rules import protocol
from tenants.policies.words import SOURCE, TRIED, named, word


def assertion(part: Part) -> Assertion | None:
    """An entry of `tests`. Raises Refusal; None where it has no source, which is a fault taken down already."""
    entry = record(part, FIELDS, {})
    if not any(member.node.value for name, member in part.members() if name.lower() in ("accept", "deny")):
        part.fault(_("A test has accept, deny or both: without them it tries nothing."))
    if "src" not in entry:
        return None
    return Assertion(part.path, part.place, entry["src"], entry.get("accept", ()), entry.get("deny", ()), entry.get("proto", ""))


def target(part: Part) -> tuple[Word, int]:
    """One destination and one port. Raises Refusal."""
    name, ports = services.split(part.text())
    if "/" in name and "@" not in name:
        raise Refusal(_("A test tries one address: write it without a prefix."))
    tried = named(part, name, TRIED)
    spans = services.ports(ports)
    if len(spans) != 1 or spans[0][0] != spans[0][1]:
        raise Refusal(_("A test tries one port."))
    if tried.text in part.reading.networks:
        raise Refusal(_("A test tries one address: the host %(name)s is a whole prefix.") % {"name": tried.text})
    return tried, spans[0][0]


def with_ports(part: Part) -> str:
    """`proto` of a test. Raises Refusal."""
    if (name := protocol(part)) not in services.WITH_PORTS:
        raise Refusal(_("A test tries tcp, udp or sctp."))
    return name


FIELDS = {
    "src": Field(lambda part: word(part, SOURCE), needed=True),
    "proto": Field(with_ports),
    "accept": Field(lambda part: part.each(target)),
    "deny": Field(lambda part: part.each(target)),
}
