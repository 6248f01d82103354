"""How things stand, for /metrics: one cheap query each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Min

from billing.models import DirtyDay, Meter
from placement import mintings, outbox
from placement.models import Alert, AuditFinding, Cluster, ClusterPolicy, Device, Grant, Heat, Waiting, Watch
from placement.policies import history
from tenants.models import AuditEvent, Tenant


@dataclass(frozen=True)
class Standing:
    """A gauge: its name, what it means, the names of its labels, and a number for each of their values."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    values: list[tuple[tuple[Any, ...], float]]


def look(now: datetime) -> list[Standing]:
    waiting = outbox.look()
    watched = list(Watch.objects.values_list("cluster_id", "complete_at", "failures"))
    live = Grant.objects.across_tenants().filter(settled_at=None)
    online = Device.objects.across_tenants().filter(online=True, gone_at=None)
    known = Device.objects.across_tenants().filter(gone_at=None)
    clusters = list(Cluster.objects.values_list("cluster_id", "state", "capacity", "committed"))
    unsealed = AuditEvent.objects.across_tenants().filter(seal=None).count()
    return [
        Standing("acs_grants", "Grants that are not settled yet, by state.", ("state",), _counts(live, "state")),
        Standing("acs_devices_online", "Devices online.", ("cluster_id",), _counts(online, "cluster_id")),
        Standing("acs_devices", "Devices known.", ("cluster_id",), _counts(known, "cluster_id")),
        Standing("acs_tenants", "Tenants by state.", ("state",), _counts(Tenant.objects, "state")),
        Standing(
            "acs_cluster_capacity", "Devices a cluster may hold.", ("cluster_id", "state"), [((c, s), room) for c, s, room, _ in clusters]
        ),
        Standing("acs_cluster_committed", "Devices promised to tenants.", ("cluster_id",), [((c,), used) for c, _, _, used in clusters]),
        Standing(
            "acs_cluster_poll_age_seconds",
            "Time since the last complete poll began.",
            ("cluster_id",),
            [((cluster_id,), (now - at).total_seconds()) for cluster_id, at, _ in watched if at],
        ),
        Standing("acs_cluster_poll_failures", "Failed polls in a row.", ("cluster_id",), [((c,), failures) for c, _, failures in watched]),
        *_engine(now),
        *_minting(now),
        *_policies(now),
        *_metering(now),
        Standing("acs_audit_unsealed", "Audit events without a place in their chain.", (), [((), unsealed)]),
        Standing("acs_outbox_depth", "Events of the fleet that wait for the consumer.", (), [((), waiting.depth)]),
        Standing("acs_outbox_lag_seconds", "Age of the oldest of them.", (), [((), waiting.lag(now))]),
    ]


def _metering(now: datetime) -> list[Standing]:
    known = [(cluster_id, at) for cluster_id, at in Meter.objects.values_list("cluster_id", "last_ok") if at]
    days = DirtyDay.objects.aggregate(count=Count("day"), oldest=Min("day"))
    behind = (now.date() - days["oldest"]).days if days["oldest"] else 0
    return [
        Standing(
            "acs_metering_age_seconds",
            "Time since online time was last counted.",
            ("cluster_id",),
            [((cluster_id,), (now - at).total_seconds()) for cluster_id, at in known],
        ),
        Standing("acs_metering_days_to_rebuild", "Days of clusters whose sums are older than their sessions.", (), [((), days["count"])]),
        Standing("acs_metering_days_behind", "Age of the oldest of them in days.", (), [((), behind)]),
    ]


def _engine(now: datetime) -> list[Standing]:
    heats = list(Heat.objects.values_list("cluster_id", "at", "measured", "breaker_open"))
    waiting, alerts = Waiting.objects.across_tenants(), dict(_counts(Alert.objects.filter(closed_at=None), "kind"))
    return [
        Standing(
            "acs_cluster_measured", "Measured utilisation.", ("cluster_id",), [((c,), used) for c, _, used, _ in heats if used is not None]
        ),
        Standing(
            "acs_cluster_breaker_open",
            "Takes no tenants, for it is overloaded.",
            ("cluster_id",),
            [((c,), is_open) for c, _, _, is_open in heats],
        ),
        Standing(
            "acs_cluster_load_age_seconds",
            "Time since the last load sample.",
            ("cluster_id",),
            [((c,), (now - at).total_seconds()) for c, at, _, _ in heats if at],
        ),
        Standing("acs_placement_waiting", "Tenants that wait for a cluster.", ("want",), _counts(waiting, "want")),
        Standing("acs_alerts_open", "Open alerts.", ("kind",), [((kind,), alerts.get((kind,), 0)) for kind in Alert.Kind.values]),
    ]


def _minting(now: datetime) -> list[Standing]:
    lines = mintings.lines(now=now)
    per_cluster = (
        ("acs_stock_keys", "Keys minted ahead on an external cluster.", lambda line: line.ready),
        ("acs_stock_wanted", "Keys that its tenants should have ahead.", lambda line: line.wanted),
        ("acs_queue_devices", "Devices that queue for a key of an external cluster.", lambda line: line.queued),
        ("acs_queue_age_seconds", "How long the first of them has waited.", lambda line: line.waited(now)),
        ("acs_mint_seconds", "Time that the cluster takes to mint a key.", lambda line: line.seconds),
        ("acs_minted", "Keys that it minted and that were measured.", lambda line: line.minted),
    )
    return [
        Standing(name, meaning, ("cluster_id",), [((line.cluster_id,), of(line)) for line in lines]) for name, meaning, of in per_cluster
    ]


def _policies(now: datetime) -> list[Standing]:
    waiting = history.waits()
    ages = [((cluster_id,), (now - since).total_seconds()) for cluster_id, since in waiting if since]
    return [
        Standing("acs_policy_waiting", "Clusters whose policy is behind what was asked for.", (), [((), len(waiting))]),
        Standing("acs_policy_age_seconds", "How long the first of what was asked for has waited.", ("cluster_id",), ages),
        *_audits(now),
    ]


def _audits(now: datetime) -> list[Standing]:
    """A kind of which nothing is open is 0 for every cluster that was audited, so that an alert rule sees it end."""
    audited = ClusterPolicy.objects.filter(checked_at__isnull=False).exclude(cluster__state=Cluster.State.OFFLINE)
    ages = dict(audited.values_list("cluster_id", "checked_at"))
    rows = AuditFinding.objects.across_tenants().filter(over_at=None).order_by().values_list("cluster_id", "kind")
    numbers = {(cluster_id, kind): count for cluster_id, kind, count in rows.annotate(Count("pk"))}
    shown = sorted({(cluster_id, kind) for cluster_id in ages for kind in AuditFinding.Kind.values} | numbers.keys())
    return [
        Standing(
            "acs_findings_open",
            "What servers run or hold and ACS did not mean.",
            ("cluster_id", "kind"),
            [(labels, numbers.get(labels, 0)) for labels in shown],
        ),
        Standing(
            "acs_audit_age_seconds",
            "Time since the last complete audit began.",
            ("cluster_id",),
            [((cluster_id,), (now - at).total_seconds()) for cluster_id, at in sorted(ages.items()) if at],
        ),
    ]


def _counts(rows: Any, by: str) -> list[tuple[tuple[Any, ...], float]]:
    found: Iterable[tuple[Any, int]] = rows.order_by().values_list(by).annotate(Count("pk"))
    return [((value,), number) for value, number in found]
