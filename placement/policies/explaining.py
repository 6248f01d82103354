"""Why one reaches another, or does not: the rules that let it pass, or which rules name the one and the other and why none joins them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from placement.policies import spans
from placement.policies.compiling import Statement
from placement.policies.reach import Reach
from tenants.errors import MalformedRequest
from tenants.policies import services
from tenants.policies.document import Service
from tenants.policies.parts import Refusal

# why it passes, or not
PASSES, ITSELF, OTHER_SERVICES, NOT_JOINED, NO_SOURCE, NO_DESTINATION, NO_RULE = (
    *("rule", "itself", "other-services", "not-joined", "no-rule-names-source", "no-rule-names-destination", "no-rule-names-either"),
)


@dataclass(frozen=True)
class Explanation:
    """About the first pair of devices that may not, or about all pairs that the two words stand for.

    `rules` let it pass; where it does not: `near` joins the two on other services, `from_source` and `to_destination` name one of them.
    """

    src: str
    dst: str
    service: Service | None
    admitted: bool
    reason: str
    services: tuple[Service, ...] = ()
    rules: tuple[Statement, ...] = ()
    near: tuple[Statement, ...] = ()
    from_source: tuple[Statement, ...] = ()
    to_destination: tuple[Statement, ...] = ()

    @property
    def meaning(self) -> str:
        """For people."""
        told = {
            PASSES: _("%(src)s reaches %(dst)s."),
            ITSELF: _("A device always reaches itself: no rule is asked."),
            OTHER_SERVICES: _("Rules let %(src)s reach %(dst)s, but not on this service."),
            NOT_JOINED: _("Some rules have %(src)s as a source and some have %(dst)s as a destination, but no rule has both."),
            NO_SOURCE: _("No rule has %(src)s as a source."),
            NO_DESTINATION: _("No rule has %(dst)s as a destination."),
            NO_RULE: _("No rule has %(src)s as a source, and none has %(dst)s as a destination."),
        }[self.reason]
        return told % {"src": self.src, "dst": self.dst} if "%(" in told else told


def explain(reach: Reach, src: str, dst: str, service: Service | None = None) -> Explanation:
    """Whether all that `src` means reaches all that `dst` means; without a service, on any.

    Both are words of the policy's own: devices, tags, groups, people, addresses, `autogroup:internet`. Raises: MalformedRequest for one that means nothing.
    """
    sources, destinations = reach.stand_for(src, towards=False), reach.stand_for(dst, towards=True)
    nothing = _("This stands for nothing that the network has.")
    if not sources or not destinations:
        raise MalformedRequest({name: nothing for name, keys in (("src", sources), ("dst", destinations)) if not keys})
    pairs = _pairs(reach, sources, destinations)
    for one, other in pairs:
        if not _passes(reach.services(one, other), service):
            return _absence(reach, one, other, service)
    rules = _in_order(reach, (rule for one, other in pairs for rule in _admitting(reach, one, other, service)))
    shared = reach.services(*pairs[0]) if len(pairs) == 1 else ()  # of several kinds of devices no two need have the same
    return Explanation(src, dst, service, True, PASSES if pairs else ITSELF, services=shared, rules=rules)


def _pairs(reach: Reach, sources: Iterable[str], destinations: Iterable[str]) -> list[tuple[str, str]]:
    """One pair for all that the same rules are about, of two different ones: a device's way to itself is none."""
    found = []
    for ones in reach.alike(sources, towards=False):
        for others in reach.alike(destinations, towards=True):
            pair = next(((one, other) for one in ones[:2] for other in others[:2] if one != other), None)
            found += [pair] if pair else []
    return found


def service_of(text: str) -> Service | None:
    """One service in the words of grants (`443`, `tcp:22`, `icmp:*`); nothing asks about any. Raises: MalformedRequest."""
    if not text.strip():
        return None
    try:
        found = services.services(text.strip())
    except Refusal as refusal:
        raise MalformedRequest({"service": str(refusal)}) from None
    if len(found) != 1:
        raise MalformedRequest({"service": _("one span of ports")})
    return found[0]


def _absence(reach: Reach, src: str, dst: str, service: Service | None) -> Explanation:
    near = tuple(reach.joining(src, dst))
    from_source = tuple(one for one in reach.statements if reach.has_source(one, src) and one not in near)
    to_destination = tuple(one for one in reach.statements if reach.has_destination(one, dst) and one not in near)
    if near:
        reason = OTHER_SERVICES
    elif from_source and to_destination:
        reason = NOT_JOINED
    else:
        reason = NO_DESTINATION if from_source else NO_SOURCE if to_destination else NO_RULE
    told: dict[str, Any] = {"near": near, "from_source": from_source, "to_destination": to_destination}
    return Explanation(reach.label_of(src), reach.label_of(dst), service, False, reason, services=reach.services(src, dst), **told)


def _passes(services: tuple[Service, ...], service: Service | None) -> bool:
    return bool(services) if service is None else spans.covers(services, service)


def _admitting(reach: Reach, src: str, dst: str, service: Service | None) -> list[Statement]:
    """The one rule that lets all of it pass, else the rules that do so together."""
    found = [one for one in reach.joining(src, dst) if one.services]
    if service is None:
        return found
    alone = next((one for one in found if spans.covers(one.services, service)), None)
    return [alone] if alone is not None else [one for one in found if spans.touches(one.services, service)]


def _in_order(reach: Reach, rules: Iterable[Statement]) -> tuple[Statement, ...]:
    wanted = {id(rule) for rule in rules}
    return tuple(one for one in reach.statements if id(one) in wanted)
