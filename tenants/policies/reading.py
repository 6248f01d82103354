"""A tenant's policy from its text: what headscale 0.29.2 would refuse is refused here, and so is what one tenant of many may not decide. Pure."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from tenants.policies import hujson
from tenants.policies.assertions import assertion
from tenants.policies.definitions import defined, groups, hosts, tags
from tenants.policies.document import Document, PolicyRefused
from tenants.policies.parts import Field, Part, Refusal, record
from tenants.policies.privileges import approvers, attribute
from tenants.policies.rules import acl, grant
from tenants.policies.shells import shell

MOST_FAULTS = 50  # told at once
MOST_RULES, MOST_SHELLS, MOST_ATTRIBUTES, MOST_TESTS = 2_000, 100, 500, 500

WHOLE_SERVER = gettext_lazy("This concerns every device of a server, other tenants too: it cannot be set in a tenant's policy.")
UNSUPPORTED = gettext_lazy("headscale does not support this.")
REFUSED = {
    "sshtests": gettext_lazy("sshTests are not supported here."),
    **dict.fromkeys(("randomizeclientport", "disableipv4", "derpmap", "onecgnatroute", "extradnsrecords", "dns", "magicdns"), WHOLE_SERVER),
    **dict.fromkeys(("postures", "defaultsrcposture", "ipsets", "services", "networkconstraints", "ipv4", "extensions"), UNSUPPORTED),
}
FIELDS = {
    "groups": Field(groups),
    "tagOwners": Field(tags),
    "hosts": Field(hosts),
    "acls": Field(lambda part: part.each(acl, MOST_RULES)),
    "grants": Field(lambda part: part.each(grant, MOST_RULES)),
    "ssh": Field(lambda part: part.each(shell, MOST_SHELLS)),
    "autoApprovers": Field(approvers),
    "nodeAttrs": Field(lambda part: part.each(attribute, MOST_ATTRIBUTES)),
    "tests": Field(lambda part: part.each(assertion, MOST_TESTS)),
}


def read(text: str) -> Document:
    """The policy that a HuJSON text is.

    Raises PolicyRefused with the first fault of the text where it is no HuJSON, else with all that is wrong, up to MOST_FAULTS, in the order of the text.
    """
    root = hujson.parse(text)
    part = Part(root, "", defined(root))
    document = part.attempt(_document)
    if part.reading.faults or document is None:
        raise PolicyRefused(tuple(sorted(part.reading.faults, key=lambda fault: fault.place)[:MOST_FAULTS]))
    return document


def _document(part: Part) -> Document:
    entry = record(part, FIELDS, REFUSED)
    approved: dict[str, Any] = entry.get("autoApprovers", {})
    rules = (*(rule for entries in entry.get("acls", ()) for rule in entries), *entry.get("grants", ()))
    if len(rules) > MOST_RULES:
        raise Refusal(
            _("These are %(length)d rules, one for each set of ports; at most %(most)d are allowed.")
            % {"length": len(rules), "most": MOST_RULES}
        )
    return Document(
        groups=entry.get("groups", {}),
        hosts=entry.get("hosts", {}),
        tags=entry.get("tagOwners", {}),
        rules=rules if "acls" in entry or "grants" in entry else None,
        ssh=entry.get("ssh", ()),
        attributes=entry.get("nodeAttrs", ()),
        routes=approved.get("routes", {}),
        exit_nodes=approved.get("exitNode", ()),
        tests=entry.get("tests", ()),
    )
