"""What a cluster is: its size and limits, its region, service class, residency and kind, as an operator sets them.

Limits follow at once. What a cluster stands for is promised to the tenants that live on it: a change that breaks what one of them was promised is
refused, and names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from placement.models import Binding, Cluster
from placement.nearness import NAME
from tenants import audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Plan

NAMES = ("region", "service_class", "residency")
COUNTS = ("capacity", "max_queue")
LIMITS = ("max_tenants", "max_sessions", "max_memory")  # None: no limit of its own
AMOUNTS = ("cores", "max_peer_seconds")
FIELDS = (*NAMES, "kind", *COUNTS, *LIMITS, *AMOUNTS)
LARGEST = 2**31 - 1
NAMED = 3  # tenants that a refusal names


@dataclass(frozen=True)
class Reshaped:
    """What was changed (old and new value by field), and what an operator should know of it."""

    changed: Mapping[str, tuple[Any, Any]]
    notes: tuple[str, ...]


@transaction.atomic
def reshape(cluster: Cluster, *, actor: str, now: datetime, **wish: Any) -> Reshaped:
    """Set the fields that `wish` names (of FIELDS). Raises: MalformedRequest, WrongState when a tenant that lives here was promised otherwise."""
    check_form(wish)
    locked = Cluster.objects.select_for_update(of=("self",)).get(pk=cluster.pk)
    changed = {name: (getattr(locked, name), value) for name, value in wish.items() if getattr(locked, name) != value}
    if not changed:
        return Reshaped({}, ())
    check_promises(locked, wish)
    values = {name: after for name, (_before, after) in changed.items()}
    if wish.get("kind") == Cluster.Kind.DEDICATED:
        values["reserved_for"] = Binding.objects.across_tenants().filter(cluster=locked).values_list("tenant", flat=True).first()
    Cluster.objects.filter(pk=locked.pk).update(**values)
    told = {name: list(pair) for name, pair in changed.items()}
    audit.record("cluster.reshape", actor=actor, tenant=None, target=locked.pk, now=now, **told)
    cluster.refresh_from_db()
    return Reshaped(changed, tuple(_notes(cluster, changed)))


def check_form(wish: Mapping[str, Any]) -> None:
    """Raises: MalformedRequest naming each field that is nonsense."""
    wrong = {name: reason for name, value in wish.items() if (reason := _nonsense(name, value))}
    if wrong:
        raise MalformedRequest(wrong)


def _nonsense(name: str, value: Any) -> str:
    """Why the value cannot be the field's, or nothing."""
    limit = 2**63 - 1 if name == "max_memory" else LARGEST
    rules: list[tuple[tuple[str, ...], Callable[[], bool], str]] = [
        (NAMES, lambda: bool(NAME.match(value)) or (name == "residency" and not value), _("letters, digits, - and _")),
        (("kind",), lambda: value in Cluster.Kind.values, _("shared or dedicated")),
        (COUNTS, lambda: 1 <= value <= LARGEST, _("a number from 1")),
        (LIMITS, lambda: value is None or 1 <= value <= limit, _("a number from 1, or none")),
        (AMOUNTS, lambda: math.isfinite(value) and value > 0, _("a number above 0")),
    ]
    for names, fits, meaning in rules:
        if name in names:
            return "" if fits() else meaning
    return _("unknown field")


def check_promises(cluster: Cluster, wish: Mapping[str, Any]) -> None:
    """Raises: WrongState where a tenant that lives on the cluster was promised something else than the wish says."""
    here = Binding.objects.across_tenants().filter(cluster=cluster)
    for name, (broken, why) in _promises(cluster, wish).items():
        if name in wish and wish[name] != getattr(cluster, name):
            hurt = list(here.filter(broken).order_by("tenant__account").values_list("tenant__account", flat=True)[: NAMED + 1])
            if hurt:
                named = ", ".join(hurt[:NAMED]) + (", ..." if len(hurt) > NAMED else "")
                raise WrongState(why % {"cluster": cluster.pk, "tenants": named})
    if wish.get("kind", cluster.kind) == Cluster.Kind.DEDICATED and here.count() > 1:
        raise WrongState(_("%(cluster)s has more than one tenant: only one can have it to itself") % {"cluster": cluster.pk})
    if cluster.reserved_for_id and wish.get("kind") == Cluster.Kind.SHARED:
        raise WrongState(_("%(cluster)s is reserved for %(tenants)s") % {"cluster": cluster.pk, "tenants": cluster.reserved_for})


def _promises(cluster: Cluster, wish: Mapping[str, Any]) -> dict[str, tuple[Q, str]]:
    """By field: which bindings its change would break, and why."""
    region, service_class, residency = (wish.get(name, getattr(cluster, name)) for name in NAMES)
    other_kind = Plan.Strategy.SHARED if wish.get("kind") == Cluster.Kind.DEDICATED else Plan.Strategy.DEDICATED
    return {
        "residency": (
            ~Q(tenant__residency__in=["", residency]),
            _("the data of %(tenants)s must stay under the residency that %(cluster)s keeps now"),
        ),
        "region": (
            ~Q(tenant__plan__regions=[]) & ~Q(tenant__plan__regions__contains=[region]),
            _("the plan of %(tenants)s, on %(cluster)s, does not include that region"),
        ),
        "service_class": (
            ~Q(tenant__plan__service_class=service_class),
            _("the plan of %(tenants)s, on %(cluster)s, names another service class"),
        ),
        "kind": (Q(tenant__plan__strategy=other_kind), _("the plan of %(tenants)s, on %(cluster)s, wants a cluster of another kind")),
    }


def _notes(cluster: Cluster, changed: Mapping[str, Any]) -> list[str]:
    notes = []
    if "capacity" in changed and cluster.committed > cluster.capacity:
        notes.append(
            _("%(committed)d devices are promised already, more than the capacity: it takes no tenant until some have moved away")
            % {"committed": cluster.committed}
        )
    if "max_tenants" in changed and cluster.max_tenants is not None and cluster.tenants > cluster.max_tenants:
        notes.append(_("%(tenants)d tenants live on it already, more than the limit: they stay") % {"tenants": cluster.tenants})
    return notes
