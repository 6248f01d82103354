"""Decisions and places in the queue in words, in the language of whoever reads. The stored document is the fact; nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext

from placement import decisions
from placement.decisions import Look
from placement.engine.facts import ENGINE, ClusterFacts, Newcomer, PoolKey
from placement.models import Alert, Decision, Waiting

RULES: Mapping[str, object] = {  # what each rule of placement/engine/eligibility.py means when it says no
    "is_active": gettext_lazy("it is not active"),
    "is_of_kind": gettext_lazy("it is of another kind: shared or dedicated"),
    "serves_the_class": gettext_lazy("it serves another class"),
    "keeps_residency": gettext_lazy("it does not keep the tenant's residency"),
    "is_nobody_elses": gettext_lazy("it is another tenant's, or kept for one"),
    "is_large_enough": gettext_lazy("the tenant would take more than a twentieth of it"),
    "has_room_for": gettext_lazy("it has not enough room under its cap"),
    "has_place_for_a_tenant": gettext_lazy("it has as many tenants as its operator allows"),
    "has_sessions_left": gettext_lazy("too many of its sessions are in use"),
    "breaker_is_closed": gettext_lazy("its breaker is open: it was overloaded"),
    "was_heard_from": gettext_lazy("its load has been unknown for too long"),
}
STAYS: Mapping[str, object] = {  # why a tenant cannot leave a cluster that is being emptied (placement/engine/rebalance.py)
    "no_cluster_is_open": gettext_lazy("no other cluster of the pool may take tenants"),
    "would_be_too_hot": gettext_lazy("every other cluster would be too hot with it"),
    "lives_there": gettext_lazy("it lives on the only cluster that may take it"),
    "most_moves": gettext_lazy("the plan has as many moves as it may have"),
}
WHYS = (  # of the order of regions, as placement/engine/regions.py and placement/bindings.py write them
    gettext_noop("the device wished it"),
    gettext_noop("near the device's network"),
    gettext_noop("the plan's default"),
    gettext_noop("no region is known to be nearer"),
    gettext_noop("it waited for room"),
)


@dataclass(frozen=True)
class Candidate:
    """An eligible cluster: `place` in the order in which to try, utilisation before and with the newcomer."""

    cluster_id: str
    place: int
    before: float
    after: float
    facts: ClusterFacts | None


@dataclass(frozen=True)
class Refused:
    """A cluster that a rule refused, and why in words."""

    cluster_id: str
    rule: str
    why: str
    facts: ClusterFacts | None


@dataclass(frozen=True)
class Step:
    """A cluster as the walk along the ring met it. `verdict`: chosen, weighed or refused."""

    cluster_id: str
    verdict: str


@dataclass(frozen=True)
class PoolAsked:
    """One pool that was asked. `unnamed`: how many more each rule refused than the document names. `again`: whether deciding anew gives the same."""

    pool: PoolKey
    reason: str
    mean: float
    bound: float
    blind: bool
    ring: str
    size: int
    candidates: tuple[Candidate, ...]
    refused: tuple[Refused, ...]
    unnamed: tuple[tuple[str, int], ...]
    again: bool | None
    walk: tuple[Step, ...]


@dataclass(frozen=True)
class Explanation:
    """A decision in words."""

    newcomer: Newcomer
    regions: tuple[str, ...]
    why_regions: str
    asked: tuple[PoolAsked, ...]


def explain(stored: Decision) -> Explanation:
    newcomer, order = decisions.newcomer_of(stored), stored.document["regions"]
    looks = decisions.looks_of(stored)
    homes = [""] * (len(looks) - 1) + [stored.cluster_id or ""]  # the last pool that was asked is where the tenant went, if anywhere
    asked = tuple(_asked(newcomer, look, home) for look, home in zip(looks, homes, strict=False))
    return Explanation(newcomer, tuple(order["order"]), why_regions(stored), asked)


def rule_in_words(rule: str) -> str:
    return str(RULES.get(rule) or STAYS.get(rule, rule))


def why_regions(stored: Decision) -> str:
    """Why the regions were tried in that order."""
    why, latencies = str(stored.document["regions"]["why"]), stored.document["wish"]["latencies"]
    order = stored.document["regions"]["order"]
    if why in WHYS:
        return _(why)
    if order and order[0] in latencies:
        return _("%(ms)s ms away, the nearest that the device measured") % {"ms": f"{latencies[order[0]]:g}"}
    return why


def reason(stored: Decision) -> str:
    """The last pool's answer: the one that counted."""
    looks = decisions.looks_of(stored)
    return in_words(looks[-1], decisions.newcomer_of(stored)) if looks else _("no region to look in")


def in_words(look: Look, newcomer: Newcomer) -> str:
    """The decision's reason, told anew from its figures; as it stands where other rules than today's made it."""
    told = look.decision
    if told.engine != ENGINE:
        return told.reason
    if not told.ranked:
        return _nobody(told.refusals)
    if newcomer.kind == "dedicated":
        kept = any(cluster.cluster_id == told.chosen and cluster.reserved_for for cluster in look.clusters)
        return _("kept for this tenant") if kept else _("the smallest that fits")
    first = told.weighed[0]
    facts = {"cluster": first.cluster_id, "bound": percent(told.bound), "count": len(told.ranked)}
    if first.projected <= told.bound:
        return _("the ring's own choice")
    if told.chosen == first.cluster_id:
        return _("%(cluster)s, the ring's own choice, passes %(bound)s and is still the coolest of %(count)d") % facts
    return _("%(cluster)s, the ring's own choice, would pass %(bound)s: the coolest of %(count)d took it") % facts


def _nobody(refusals: Mapping[str, int]) -> str:
    if not refusals:
        return _("the pool is empty")
    rule, count = min(refusals.items(), key=lambda item: (-item[1], item[0]))
    every = sum(refusals.values())
    words = ngettext("its only cluster may not: %(why)s", "none of %(every)d clusters may; of %(count)d of them: %(why)s", every)
    return words % {"every": every, "count": count, "why": rule_in_words(rule)}


def _asked(newcomer: Newcomer, look: Look, home: str) -> PoolAsked:
    told, known = look.decision, {cluster.cluster_id: cluster for cluster in look.clusters}
    weighed = {each.cluster_id: each for each in told.weighed}
    candidates = (
        Candidate(cluster_id, place, weighed[cluster_id].utilisation, weighed[cluster_id].projected, known.get(cluster_id))
        for place, cluster_id in enumerate(told.ranked, 1)
    )
    refused = (Refused(cluster_id, rule, rule_in_words(rule), known.get(cluster_id)) for cluster_id, rule in told.refused.items())
    named = list(told.refused.values())
    unnamed = ((rule_in_words(rule), more) for rule, count in told.refusals.items() if (more := count - named.count(rule)) > 0)
    anew = decisions.again(newcomer, look) if told.engine == ENGINE else None
    return PoolAsked(
        pool=told.pool,
        reason=in_words(look, newcomer),
        mean=told.mean,
        bound=told.bound,
        blind=told.blind,
        ring=told.ring,
        size=look.size,
        candidates=tuple(candidates),
        refused=tuple(refused),
        unnamed=tuple(unnamed),
        again=None if anew is None else anew == told,
        walk=tuple(Step(cluster.cluster_id, _verdict(cluster.cluster_id, told.refused, home)) for cluster in look.clusters),
    )


def _verdict(cluster_id: str, refused: Mapping[str, str], home: str) -> str:
    if cluster_id in refused:
        return "refused"
    return "chosen" if cluster_id == home else "weighed"


def to_provision(waiting: Waiting) -> str:
    """What an operator would have to add for who waits."""
    region = waiting.regions[0] if waiting.regions else ""
    return _cluster_wanted(waiting.want == Waiting.Want.DEDICATED, region, waiting.service_class, waiting.residency, waiting.load)


def _cluster_wanted(dedicated: bool, region: str, service_class: str, residency: str, load: int) -> str:
    words = (
        _("a dedicated cluster in %(region)s with room for %(load)d devices")
        if dedicated
        else _("a shared cluster of the service class %(class)s in %(region)s with room for %(load)d devices")
    )
    told = words % {"class": service_class, "load": load, "region": region or _("any region")}
    return _("%(cluster)s, under the residency %(residency)s") % {"cluster": told, "residency": residency} if residency else told


def percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def queue() -> QuerySet[Waiting]:
    """Everybody who waits, in order, with what `why_waits` reads: three queries for any number."""
    refused = Decision.objects.across_tenants().filter(outcome=Decision.Outcome.REFUSED)
    waiting = Waiting.objects.across_tenants().select_related("tenant__dedicated_cluster")
    return waiting.prefetch_related(Prefetch("tenant__decisions", refused, to_attr="refusals"))


def why_waits(waiting: Waiting) -> str:
    """Of a row of `queue`."""
    if waiting.want == Waiting.Want.DEDICATED and hasattr(waiting.tenant, "dedicated_cluster"):
        return _("%(cluster)s is reserved; the tenant is to move there") % {"cluster": waiting.tenant.dedicated_cluster}
    if refusals := getattr(waiting.tenant, "refusals", ()):
        return reason(refusals[0])
    return _("no dedicated cluster is free") if waiting.want == Waiting.Want.DEDICATED else waiting.why


def facts_of(alert: Alert) -> list[tuple[str, object]]:
    """What an alert tells: a label and a fact each."""
    told = alert.facts
    if alert.kind in (Alert.Kind.NO_ROOM, Alert.Kind.NO_DEDICATED) and "load" in told:
        dedicated = alert.kind == Alert.Kind.NO_DEDICATED
        wanted = _cluster_wanted(dedicated, told["region"], told["service_class"], told["residency"], told["load"])
        return [(_("to provision"), wanted), (_("last asked by"), told.get("last", ""))]
    labels = {
        "measured": _("measured utilisation"),
        "key": _("key id on the server"),
        "tenant": _("tenant"),
        "tenants": _("tenants"),
        "first": _("the first one"),
        "state": _("state"),
        "cpu": _("CPU"),
        "sessions": _("sessions"),
        "last": _("last sample"),
        "reason": _("reason"),
    }
    return [(labels.get(name, name), percent(fact) if name == "measured" else fact) for name, fact in told.items()]
