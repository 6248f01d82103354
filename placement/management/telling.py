"""How `manage.py placement` tells what it found: plain lines, a fact each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.forms import model_to_dict

from placement import explaining
from placement.explaining import PoolAsked, percent
from placement.models import Alert, Binding, Decision, Waiting
from placement.nearness import Place
from placement.pools import PoolView, Standing
from tenants.models import Tenant


def when(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else "never"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Columns as wide as what stands in them."""
    lines = [tuple(heads), *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(heads))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


# ---- explain ---------------------------------------------------------------------------------------------------------


def home(tenant: Tenant) -> Iterator[str]:
    """Where the tenant is now: bound, waiting, both or neither."""
    binding = Binding.objects.of(tenant).select_related("cluster").first()
    if binding is not None:
        since = f"{binding.cluster_id} ({binding.cluster.region}) since {when(binding.created_at)}"
        yield f"{tenant.account} lives on {since}, {binding.expected_load} devices expected" + (
            f", moved {when(binding.moved_at)}" if binding.moved_at else ""
        )
    if (waits := Waiting.objects.of(tenant).first()) is not None:
        yield f"{tenant.account} waits for {waits.get_want_display()} since {when(waits.since)}, asked {waits.asked} times: {waits.why}"
        yield f"  to provision: {explaining.to_provision(waits)}"
    elif binding is None:
        yield f"{tenant.account} lives nowhere yet: its first device places it"


def decision(stored: Decision) -> Iterator[str]:
    told = explaining.explain(stored)
    newcomer = told.newcomer
    yield f"{when(stored.at)}  {stored.get_outcome_display()}{' on ' + stored.cluster_id if stored.cluster_id else ''}"
    residency = f", residency {newcomer.residency}" if newcomer.residency else ""
    yield f"  newcomer: {newcomer.load} devices, class {newcomer.service_class}, {newcomer.kind}{residency}"
    yield f"  regions: {', '.join(told.regions) or 'none'} ({told.why_regions})"
    for asked in told.asked:
        yield from _pool_asked(asked, stored)


def _pool_asked(asked: PoolAsked, stored: Decision) -> Iterator[str]:
    ring = f"ring {asked.ring} of {asked.size} clusters, bound {percent(asked.bound)}, " if asked.size else ""
    yield f"  {asked.pool}: {ring}mean {percent(asked.mean)}, engine {stored.engine}" + (
        ", blind: promises alone decided" if asked.blind else ""
    )
    yield f"    {asked.reason}"
    for candidate in asked.candidates:
        chosen = "  <- chosen" if candidate.cluster_id == stored.cluster_id else ""
        yield f"    {candidate.place}. {candidate.cluster_id}  {percent(candidate.before)} -> {percent(candidate.after)}{chosen}"
    for refused in asked.refused:
        yield f"    not {refused.cluster_id}: {refused.why}"
    for why, count in asked.unnamed:
        yield f"    nor {count} more: {why}"
    if asked.again is False:
        yield "    decided again from what was stored, the answer is another one"


def documents(tenant: Tenant, made: Iterable[Decision]) -> dict[str, Any]:
    """The same as it is stored."""
    binding, waits = Binding.objects.of(tenant).first(), Waiting.objects.of(tenant).first()
    return {
        "account": tenant.account,
        "binding": binding and model_to_dict(binding, ["cluster", "expected_load", "reason", "rules"]) | {"created_at": binding.created_at},
        "waiting": waits and model_to_dict(waits, exclude=["tenant"]),
        "decisions": [model_to_dict(stored, exclude=["tenant"]) | {"id": stored.pk} for stored in made],
    }


def as_json(document: Any) -> str:
    return json.dumps(document, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)


# ---- pools, queue, alerts --------------------------------------------------------------------------------------------


def standing(found: Standing) -> Iterator[str]:
    heads = ("pool", "clusters", "active", "tenants", "mean", "fullest", "bound", "room", "breakers")
    yield from table(heads, (_pool(view) for view in found.pools)) if found.pools else ["no pool: no shared cluster is registered"]
    for view in found.pools:
        if view.pool.blind:
            yield f"{view.key} is blind: more than half of its samples are old, promises alone decide"
        if view.breakers:
            yield f"{view.key} has open breakers: {', '.join(view.breakers)}"
        if view.stale and not view.pool.blind:
            yield f"{view.key} has old samples: {', '.join(view.stale)}"
    for group in found.dedicated:
        yield f"dedicated in {group.region}: {len(group.clusters)} clusters, {group.free} free"


def _pool(view: PoolView) -> tuple[object, ...]:
    fullest = f"{percent(view.highest.utilisation)} {view.highest.cluster_id}" if view.highest else "-"
    counts = (view.key, len(view.members), len(view.active), view.tenants)
    return (*counts, percent(view.pool.mean), fullest, percent(view.bound), view.room, len(view.breakers))


def queue(waiting: Iterable[Waiting]) -> Iterator[str]:
    rows = [
        (
            waits.tenant.account,
            waits.get_want_display(),
            when(waits.since),
            waits.asked,
            explaining.to_provision(waits),
            explaining.why_waits(waits),
        )
        for waits in waiting
    ]
    yield from table(("tenant", "waits for", "since", "asked", "to provision", "why"), rows) if rows else ["nobody waits"]


def alerts(found: Iterable[Alert]) -> Iterator[str]:
    rows = [
        (
            alert.get_kind_display(),
            alert.subject,
            when(alert.opened_at),
            alert.times,
            ", ".join(f"{name}: {fact}" for name, fact in explaining.facts_of(alert)),
        )
        for alert in found
    ]
    yield from table(("alert", "about", "since", "seen", "facts"), rows) if rows else ["no alert is open"]


# ---- regions ---------------------------------------------------------------------------------------------------------


def regions(found: Iterable[Place]) -> Iterator[str]:
    rows = [(place.name, place.title, place.clusters, ", ".join(place.neighbours) or "-", ", ".join(place.near) or "-") for place in found]
    yield from table(("region", "title", "clusters", "neighbours", "near it"), rows) if rows else ["no region yet"]
