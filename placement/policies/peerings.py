"""Peerings where tenants live: words checked against what a tenant has, acceptance on one cluster only, and its document compiled anew.

These are the verbs that every door calls. An accepted peering holds while both tenants live on one cluster; it comes and goes with the next push.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from placement import bindings, snapshots
from placement.engine.eligibility import objection
from placement.engine.facts import ANY, PoolKey
from placement.errors import PeeringAcrossClusters
from placement.explaining import rule_in_words
from placement.models import Binding
from placement.policies import gathering, resolving, wishes
from placement.policies.resolving import prefix_of
from placement.snapshots import Snapshot
from tenants import peerings
from tenants.errors import WrongState
from tenants.models import Peering, Tenant
from tenants.peerings import Doubt
from tenants.policies.document import EVERYONE, PolicyRefused

Homes = Mapping[UUID, str]


class _Apart(Exception):
    """The two do not live on one cluster: what was begun is undone."""


def offer(
    host: Tenant,
    guest_account: str,
    *,
    dst: Sequence[str],
    services: Sequence[str],
    actor: str,
    now: datetime,
    by: Tenant | None = None,
    description: str = "",
) -> Peering:
    """As in tenants/peerings.py. Across clusters it may be offered: `note` says what is missing. Raises: MalformedRequest, UnknownAccount, WrongState."""
    told = {"dst": dst, "services": services, "description": description, "actor": actor, "now": now}
    return peerings.offer(host, guest_account, doubt=doubt_of(host), by=by, **told)  # type: ignore[arg-type]


def accept(peering: Peering, src: Sequence[str], *, actor: str, now: datetime, by: Tenant | None = None) -> Peering:
    """Accept and ask for a push, both or neither. Raises: MalformedRequest, WrongState, PeeringAcrossClusters."""
    doubt = doubt_of(peering.guest)
    try:
        with transaction.atomic():
            accepted = peerings.accept(peering, src, doubt=doubt, by=by, actor=actor, now=now)
            shared = homes_of(peering)
            if shared.get(peering.host_id) is None or shared.get(peering.host_id) != shared.get(peering.guest_id):
                raise _Apart
            wishes.touch(shared[peering.host_id], now=now)
    except _Apart:
        raise PeeringAcrossClusters(advice(peering, by=by, now=now)) from None
    return accepted


@transaction.atomic
def end(peering: Peering, *, by: Tenant | None, actor: str, now: datetime) -> Peering:
    """End it for both, and ask for a push where it held. Raises: WrongState when it is ended already."""
    ended = peerings.end(peering, by=by, actor=actor, now=now)
    if ended.accepted_at is not None:
        for cluster_id in sorted(set(homes_of(peering).values())):
            wishes.touch(cluster_id, now=now)
    return ended


def of(tenant: Tenant | None) -> QuerySet[Peering]:
    """The peerings that a tenant sees, its own ones on either side; None: an operator sees all. With what `note` reads."""
    rows = Peering.objects.across_tenants() if tenant is None else Peering.objects.of(tenant)
    return rows.select_related("host__plan", "guest__plan", "host__binding", "guest__binding")


def homes_of(peering: Peering) -> dict[UUID, str]:
    """The clusters that the two live on now, by tenant."""
    rows = Binding.objects.across_tenants().filter(tenant__in=[peering.host_id, peering.guest_id])
    return dict(rows.values_list("tenant_id", "cluster_id"))


# ---- words -----------------------------------------------------------------------------------------------------------


def doubt_of(tenant: Tenant) -> Doubt:
    """What says why a word stands for nothing that the tenant has. Raises: WrongState (its stored policy cannot be read any more)."""
    try:
        return partial(_doubt, resolving.Tenant(gathering.fact_of(tenant)))
    except PolicyRefused as refusal:
        raise WrongState(_("the network policy cannot be read any more, store it anew: %(why)s") % {"why": refusal}) from refusal


def _doubt(tenant: resolving.Tenant, word: str) -> str:
    document = tenant.fact.document
    if word == EVERYONE or word.startswith("autogroup:") or word in document.hosts:
        return ""
    if word.startswith("tag:"):
        return "" if word in tenant.tags else _("%(word)s is no tag of this network.") % {"word": word}
    if word.startswith("group:"):
        return "" if word in document.groups else _("%(word)s is no group of this network.") % {"word": word}
    if prefix_of(word) is not None:
        there = tenant.of(word, towards=True).devices
        return "" if there else _("No device of this network has the address %(word)s.") % {"word": word}
    count = len(tenant.named(word))
    if count > 1:
        return _("%(word)s is the name of %(count)d devices: use a registration id or an address.") % {"word": word, "count": count}
    return "" if count else _("%(word)s is no device of this network.") % {"word": word}


# ---- where the two live ----------------------------------------------------------------------------------------------


def note(peering: Peering) -> str:
    """What keeps an open peering from holding, or nothing. Of a row of `of` it asks nothing more."""
    if peering.state == Peering.State.ENDED:
        return ""
    homes = {tenant.pk: tenant.binding.cluster_id for tenant in (peering.host, peering.guest) if hasattr(tenant, "binding")}
    if reason := _apart(peering, homes):
        missing = _("It can be accepted once both live on one cluster.")
        lost = _("It holds again once both live on one cluster.")
        return f"{reason} {missing if peering.state == Peering.State.OFFERED else lost}"
    return ""


def _apart(peering: Peering, homes: Homes) -> str:
    """Why the two do not share a cluster, or nothing."""
    names = {"host": peering.host.account, "guest": peering.guest.account}
    nowhere = [tenant.account for tenant in (peering.host, peering.guest) if tenant.pk not in homes]
    if len(nowhere) > 1:
        return _("Neither %(host)s nor %(guest)s lives on a cluster yet: a tenant gets one with its first device.") % names
    if nowhere:
        return _("%(account)s lives on no cluster yet: it gets one with its first device.") % {"account": nowhere[0]}
    if homes[peering.host_id] != homes[peering.guest_id]:
        return _("%(host)s and %(guest)s live on different clusters.") % names
    return ""


def advice(peering: Peering, *, by: Tenant | None, now: datetime) -> str:
    """Why it cannot be accepted, and who could move. A tenant is told of no cluster but its own, and of the other tenant's only whether a move fits."""
    homes = homes_of(peering)
    reason = _apart(peering, homes)
    if len(homes) < 2 or not reason:
        return reason or _("A tenant was just moved: ask again.")
    snapshot, offers, why_not = snapshots.fresh(now=now), [], []
    for mover, other in ((peering.guest, peering.host), (peering.host, peering.guest)):
        target = homes[other.pk]
        seen = by is None or by == other
        words = {"account": mover.account, "cluster": target, "other": other.account}
        if objected := cannot_move(mover, target, snapshot):
            why_not.append(_("%(account)s cannot move to %(cluster)s: %(why)s.") % {**words, "why": objected})
        elif seen:
            offers.append(_("Ask the operators to move %(account)s to %(cluster)s.") % words)
        else:
            offers.append(_("Ask the operators to move %(account)s to the cluster of %(other)s.") % words)
    if offers:
        return " ".join([reason, *offers])
    return " ".join([reason, _("Neither can move to the other's cluster now."), *(why_not if by is None else ())])


def cannot_move(tenant: Tenant, cluster_id: str, snapshot: Snapshot) -> str:
    """Why the tenant could not live on that cluster, by the rules for newcomers and its plan; or nothing."""
    cluster = snapshot.clusters.get(cluster_id)
    if cluster is None:
        return rule_in_words("is_active")
    if tenant.plan.regions and cluster.region not in tenant.plan.regions:
        return _("the plan does not include its region")
    promised = Binding.objects.of(tenant).values_list("expected_load", flat=True).first()
    newcomer = bindings.newcomer_of(tenant)
    newcomer = replace(newcomer, load=promised or newcomer.load)
    pool = snapshot.pool(PoolKey(cluster.region, cluster.service_class, tenant.residency or ANY))
    rule = objection(newcomer, cluster, pool)
    return rule_in_words(rule) if rule else ""
