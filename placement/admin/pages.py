"""Pictures on the operators' pages: every pool with its ring and its utilisation, and the ring as a decision walked it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from placement import explaining, pictures, pools, snapshots
from placement.engine.facts import ANY, ClusterFacts
from placement.engine.ring import CIRCLE, point_of
from placement.explaining import PoolAsked, percent
from placement.models import Alert, Cluster, Decision, Waiting
from placement.pictures import Bar, ColumnsPicture, Mark, RingPicture
from placement.pools import Member, PoolView

PICTURED = 8  # pools that one page shows in pictures
LISTED, LISTED_ALONE = 8, 200  # clusters in a pool's table, beside others and on its own page


@dataclass(frozen=True)
class Pictured:
    """A pool with its pictures, and the clusters that its table lists."""

    view: PoolView
    ring: RingPicture
    columns: ColumnsPicture
    listed: tuple[Member, ...]

    @property
    def unlisted(self) -> int:
        return len(self.view.members) - len(self.listed)


@dataclass(frozen=True)
class Walked:
    """One pool that a decision asked, with its ring as it is today. `changed`: members or weights are others since."""

    asked: PoolAsked
    ring: RingPicture | None
    changed: bool

    @property
    def name(self) -> str:
        """For addresses within a page."""
        return "-".join(("ring", *self.asked.pool)).replace(ANY, "any")


def pools_page(request: HttpRequest) -> HttpResponse:
    """`?pool=REGION/CLASS/RESIDENCY`: that pool alone, with more of its clusters."""
    if not request.user.has_perm("placement.view_cluster"):
        raise PermissionDenied
    standing, chosen = pools.look(now=timezone.now()), request.GET.get("pool", "")
    shown = [view for view in standing.pools if str(view.key) == chosen] if chosen else standing.pools[:PICTURED]
    if chosen and not shown:
        raise Http404
    context = {
        **admin.site.each_context(request),
        "title": chosen or _("Pools"),
        "standing": standing,
        "alone": bool(chosen),
        "pictured": [_pictured(view, LISTED_ALONE if chosen else LISTED) for view in shown],
        "waiting": Waiting.objects.across_tenants().count(),
        "alerts": list(Alert.objects.filter(closed_at=None)[:20]),
    }
    return TemplateResponse(request, "admin/pools.html", context)


def decision_context(row: Decision, *, now: datetime) -> dict[str, Any]:
    """What the page of a decision shows besides its fields."""
    told = explaining.explain(row)
    snapshot = snapshots.fresh(now=now)
    walked = [_walked(asked, row, snapshot) for asked in told.asked]
    return {"told": told, "walked": walked}


def state_of(cluster: ClusterFacts) -> str:
    """A cluster's state in words, with what keeps it from taking tenants besides."""
    words = [str(Cluster.State(cluster.state).label)]
    if cluster.breaker_open:
        words.append(_("breaker open"))
    if cluster.is_stale:
        words.append(_("load unknown"))
    return ", ".join(words)


def _pictured(view: PoolView, listed: int) -> Pictured:
    few = len(view.members) <= pictures.COLUMNS  # of more, no picture shows the single ones
    titles = {member.cluster_id: _title(member) if few else "" for member in view.members}
    marks = {
        member.cluster_id: Mark(pictures.colour_of(member.utilisation, takes=member.takes), titles[member.cluster_id])
        for member in view.members
    }
    arcs = view.pool.ring.sketch(pictures.SLICES)
    bars = [_bar(member, titles[member.cluster_id]) for member in view.members]
    columns = pictures.columns(bars, mean=view.pool.mean, bound=view.bound)
    return Pictured(view, pictures.ring(arcs, marks), columns, view.members[:listed])


def _bar(member: Member, title: str) -> Bar:
    facts = member.facts
    return Bar(facts.cluster_id, member.promised, facts.measured, member.takes, facts.breaker_open, title)


def _title(member: Member) -> str:
    return f"{member.cluster_id}: {percent(member.utilisation)}, {state_of(member.facts)}"


def _walked(asked: PoolAsked, row: Decision, snapshot: snapshots.Snapshot) -> Walked:
    pool = snapshot.pools.get(asked.pool)
    if not asked.size or pool is None:
        return Walked(asked, None, changed=bool(asked.size))
    words = {"chosen": _("chosen"), "weighed": _("weighed"), "refused": _("refused")}
    marks = {cluster_id: Mark("far", cluster_id) for cluster_id in pool.clusters}
    marks |= {step.cluster_id: Mark(step.verdict, f"{step.cluster_id}: {words[step.verdict]}", raised=True) for step in asked.walk}
    point = point_of(str(row.tenant_id)) / CIRCLE
    return Walked(asked, pictures.ring(pool.ring.sketch(pictures.SLICES), marks, point=point), changed=pool.ring.digest != asked.ring)
