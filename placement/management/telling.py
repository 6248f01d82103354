"""How `manage.py placement` tells what it found: plain lines, a fact each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.forms import model_to_dict
from django.utils.translation import gettext as _

from placement import explaining
from placement.diagnosis import words
from placement.diagnosis.gather import Diagnosis
from placement.explaining import PoolAsked, percent
from placement.models import Alert, Binding, Decision, MovePlan, Waiting
from placement.nearness import Place
from placement.pools import PoolView, Standing
from tenants.models import Tenant

SHOWN = 40  # moves of a plan, a line each; its export has all


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


# ---- plans and experiments -------------------------------------------------------------------------------------------


def plans(found: Iterable[MovePlan]) -> Iterator[str]:
    rows = [(made.pk, made.get_kind_display(), made.subject, made.get_state_display(), made.moves, when(made.made_at)) for made in found]
    yield from table(("id", "kind", "of", "state", "moves", "made"), rows) if rows else ["no plan yet"]


def plan(made: MovePlan) -> Iterator[str]:
    told = made.document
    before, after = told["before"], told["after"]
    yield f"{made.pk}  {made.get_kind_display()} of {made.subject}, {made.get_state_display()}"
    yield f"  {made.moves} moves of {told['load']} devices; {told['least']} have to move at least"
    yield f"  fullest {percent(before['highest'])} -> {percent(after['highest'])}, mean {percent(before['mean'])}, max/mean {before['ratio']:.3f} -> {after['ratio']:.3f}"
    if not (told["moves"] or told["stays"]):
        yield "  nothing to move"
    accounts = _accounts([row["tenant_id"] for row in (*told["moves"][:SHOWN], *told["stays"][:SHOWN])])
    for move in told["moves"][:SHOWN]:
        yield f"  {accounts.get(move['tenant_id'], move['tenant_id'])}: {move['source']} -> {move['target']}, {move['load']} devices"
    if len(told["moves"]) > SHOWN:
        yield f"  and {len(told['moves']) - SHOWN} more: `manage.py placement plan export {made.pk}`"
    for stay in told["stays"][:SHOWN]:
        yield f"  {accounts.get(stay['tenant_id'], stay['tenant_id'])} cannot leave {stay['cluster_id']}: {explaining.rule_in_words(stay['why'])}"
    if len(told["stays"]) > SHOWN:
        yield f"  and {len(told['stays']) - SHOWN} more that cannot leave"


def _accounts(tenant_ids: Iterable[str]) -> dict[str, str]:
    return {str(pk): account for pk, account in Tenant.objects.filter(pk__in=list(tenant_ids)).values_list("pk", "account")}


def outcome(document: dict[str, Any]) -> Iterator[str]:
    yield "nothing was changed; this is what would be:"
    heads = ("pool", "clusters", "mean", "fullest", "max/mean")
    yield from table(heads, (_before_and_after(row) for row in document["pools"])) if document["pools"] else ["no pool"]
    if document["landed"]:
        yield ""
        landed = sorted(document["landed"].items(), key=lambda item: -item[1]["devices"])
        yield from table(
            ("lands on", "tenants", "devices"), ((name, counts["tenants"], counts["devices"]) for name, counts in landed[:SHOWN])
        )
        if len(landed) > SHOWN:
            yield f"and {len(landed) - SHOWN} clusters more"
    if document["moved"] or document["homeless"]:
        yield f"{document['moved']} tenants would move, {document['homeless']} would find no place"
    for name, count in document["refused"].items():
        yield f"refused: {count} tenants of {name}"
    for rule, count in sorted(document["rules"].items(), key=lambda item: -item[1]):
        yield f"  {explaining.rule_in_words(rule)}: {count} times"


def _before_and_after(row: dict[str, Any]) -> tuple[object, ...]:
    nothing = {"clusters": 0, "mean": 0.0, "highest": 0.0, "ratio": 1.0}
    before, after = row["before"] or nothing, row["after"] or nothing
    return (
        row["pool"],
        f"{before['clusters']} -> {after['clusters']}",
        f"{percent(before['mean'])} -> {percent(after['mean'])}",
        f"{percent(before['highest'])} -> {percent(after['highest'])}",
        f"{before['ratio']:.3f} -> {after['ratio']:.3f}",
    )


# ---- enrolment why ---------------------------------------------------------------------------------------------------


def diagnosis(tenant: Tenant, found: Diagnosis) -> Iterator[str]:
    at = found.standing
    yield f"{tenant.account}  {found.known.registration_id}"
    for step in found.steps:
        times = f"  ({step.times}x)" if step.times > 1 else ""
        outcome = "" if step.outcome == "done" else f": {words.OUTCOMES[step.outcome]}"
        code = f" [{step.code}]" if step.code else ""
        yield f"  {when(step.at)}  {words.STAGES[step.stage]}{outcome}{code}  {step.detail}{times}".rstrip()
    if not at.stage:
        yield "  " + _("It is in its network: every stage is reached.")
    elif at.stalled:
        yield "  " + _("It stalls at “%(stage)s” since %(since)s.") % {"stage": words.STAGES[at.stage], "since": when(at.since)}
    else:
        yield "  " + _("It is on its way to “%(stage)s”.") % {"stage": words.STAGES[at.stage]}
    for cause in (*found.causes, *found.hints):
        told = words.CAUSES[cause.code]
        evidence = f" ({cause.detail})" if cause.detail else ""
        likely = "" if cause.certain else _("Likely: ")
        yield f"    {cause.code}: {likely}{told.meaning}{evidence} {told.remedy}"
