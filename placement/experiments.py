"""What would be: the real fleet, read in a transaction that may not write, and changes to it on paper (placement/engine/whatif.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from placement import facts
from placement.engine.facts import ClusterFacts, Newcomer
from placement.engine.regions import Wish, prefer
from placement.engine.whatif import (
    AddCluster,
    AddTenants,
    Change,
    Guest,
    LoseRegion,
    RemoveCluster,
    Reweight,
    UnknownCluster,
    experiment,
)
from placement.models import Binding, Region
from tenants.errors import MalformedRequest
from tenants.models import Plan

CLUSTER_ID = re.compile(r"[a-z0-9]{1,32}\Z")
NAME = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")
LARGEST = 10_000_000  # devices of a cluster


def run(changes: Sequence[tuple[str, str]], *, now: datetime, most_tenants: int) -> dict[str, Any]:
    """The outcome as a document. `changes`: (verb, words) in order: add ID:CAPACITY[:REGION[:CLASS]], remove ID, reweight ID:CAPACITY,
    tenants N:PLAN[:REGION], lose_region R. `most_tenants` bounds how many are placed: those that are added, and those whose clusters go.

    Raises: MalformedRequest.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("set transaction read only")  # until the end of this block: whatever runs in it cannot write
        known = facts.load(now=now)
        regions = sorted({cluster.region for cluster in known})
        neighbours = {name: list(near) for name, near in Region.objects.values_list("name", "neighbours")}
        read = [_change(verb, words, regions, neighbours) for verb, words in changes]
        added = sum(change.count for change in read if isinstance(change, AddTenants))
        leaving = _of_clusters_that_go(read, known)
        if (placed := added + leaving.count()) > most_tenants:
            raise MalformedRequest({"tenants": _("%(count)d are too many, at most %(most)d") % {"count": placed, "most": most_tenants}})
        guests = [_guest(binding, regions, neighbours) for binding in leaving]
    try:
        return experiment(known, guests, read).as_document()
    except UnknownCluster as error:
        raise MalformedRequest({"changes": str(error)}) from None


def _of_clusters_that_go(changes: Sequence[Change], known: Sequence[ClusterFacts]) -> QuerySet[Binding]:
    """Nobody else has to be looked at: who lives on a cluster that stays, stays."""
    lost = {change.region for change in changes if isinstance(change, LoseRegion)}
    gone = {change.cluster_id for change in changes if isinstance(change, RemoveCluster)}
    gone |= {cluster.cluster_id for cluster in known if cluster.region in lost}
    bound = Binding.objects.across_tenants().filter(cluster_id__in=gone)
    return bound.select_related("tenant__plan", "cluster").order_by("tenant_id")


def _guest(binding: Binding, regions: list[str], neighbours: dict[str, list[str]]) -> Guest:
    """A tenant that would have to go somewhere else looks in its own region first, then where its plan and that region's neighbours allow."""
    plan, home = binding.tenant.plan, binding.cluster.region
    allowed = plan.regions or regions
    newcomer = Newcomer(str(binding.tenant_id), binding.expected_load, plan.service_class, binding.tenant.residency, binding.cluster.kind)
    return Guest(newcomer, binding.cluster_id, (home, *(other for other in neighbours.get(home, []) if other in allowed and other != home)))


def _change(verb: str, words: str, regions: list[str], neighbours: dict[str, list[str]]) -> Change:
    """Raises: MalformedRequest."""
    parts = words.split(":")
    if verb == "add" and 2 <= len(parts) <= 4 and CLUSTER_ID.match(parts[0]) and all(NAME.match(part) for part in parts[2:]):
        if len(parts) == 2 and len(regions) != 1:
            raise MalformedRequest({verb: _("name the region too: ID:CAPACITY:REGION")})
        region, service_class = [*parts[2:], *(regions if len(parts) == 2 else []), "standard"][:2]
        capacity = _number(verb, parts[1], LARGEST)
        return AddCluster(ClusterFacts(parts[0], region, service_class, capacity=capacity, max_sessions=capacity))
    if verb == "remove" and len(parts) == 1:
        return RemoveCluster(words)
    if verb == "reweight" and len(parts) == 2:
        return Reweight(parts[0], _number(verb, parts[1], LARGEST))
    if verb == "lose_region" and len(parts) == 1:
        return LoseRegion(words)
    if verb == "tenants" and 2 <= len(parts) <= 3:
        return _tenants(parts, regions, neighbours)
    raise MalformedRequest({verb: _("cannot be read: %(words)s") % {"words": words[:80]}})


def _tenants(parts: list[str], regions: list[str], neighbours: dict[str, list[str]]) -> AddTenants:
    plan = Plan.objects.filter(pk=parts[1]).first()
    if plan is None:
        raise MalformedRequest({"tenants": _("there is no plan %(plan)s") % {"plan": parts[1][:40]}})
    wish = Wish(parts[2]) if len(parts) > 2 else Wish()
    allowed = plan.regions or regions
    if wish.want_region and wish.want_region not in allowed:
        raise MalformedRequest(
            {"tenants": _("the plan %(plan)s does not include the region %(region)s") % {"plan": plan.pk, "region": parts[2][:40]}}
        )
    order = prefer(wish, allowed=allowed, default=plan.default_region, neighbours=neighbours).regions
    like = Newcomer("", max(1, plan.expected_devices), plan.service_class, "", plan.strategy)
    return AddTenants(":".join(parts[1:]), _number("tenants", parts[0], LARGEST), like, order)


def _number(verb: str, text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise MalformedRequest({verb: _("a whole number from 1 to %(most)d, not %(text)s") % {"most": most, "text": text[:20]}})
    return int(text)
