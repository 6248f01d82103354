"""/metrics: what this service did, counted where it happens, and how things stand, asked from the database at each scrape.

With PROMETHEUS_MULTIPROC_DIR set, all processes that share the folder are counted together (the worker's too, where it shares it).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from psycopg_pool import PoolTimeout

from acs import errors, standings
from placement.errors import ClusterError
from tenants.errors import BadCredential

log = structlog.get_logger(__name__)
BOOTSTRAPS = Counter("acs_bootstraps", "Bootstrap requests by the code of their answer (ok: admitted).", ["code", "cluster_id"])
BOOTSTRAP_SECONDS = Histogram(
    "acs_bootstrap_seconds",
    "Time that a bootstrap took.",
    ["code"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
POLLS = Counter("acs_polls", "Polls of clusters by outcome.", ["outcome", "cluster_id"])
AUDITS = Counter("acs_audits", "Audits of clusters by outcome (away: the server could not be looked at).", ["outcome", "cluster_id"])
PUSHES = Counter("acs_policy_pushes", "Documents for clusters by what became of them.", ["outcome", "cluster_id"])


class Outcome:
    """What became of one bootstrap."""

    code = "ok"
    cluster_id = ""


@contextmanager
def bootstrap() -> Iterator[Outcome]:
    """Count and time one bootstrap; an error counts under its code and goes on."""
    outcome, begun = Outcome(), monotonic()
    try:
        yield outcome
    except Exception as error:
        problem = errors.problem_of(error) or errors.INTERNAL
        outcome.code = problem.code
        outcome.cluster_id = error.cluster_id if isinstance(error, ClusterError) else ""
        raise
    finally:
        BOOTSTRAPS.labels(outcome.code, outcome.cluster_id).inc()
        BOOTSTRAP_SECONDS.labels(outcome.code).observe(monotonic() - begun)


def count_poll(cluster_id: str, outcome: str) -> None:
    POLLS.labels(outcome, cluster_id).inc()


def count_audit(cluster_id: str, outcome: str) -> None:
    AUDITS.labels(outcome, cluster_id).inc()


def count_push(cluster_id: str, outcome: str) -> None:
    PUSHES.labels(outcome, cluster_id).inc()


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """For holders of ACS_METRICS_TOKEN or, where none is set, for this machine. Raises: BadCredential."""
    if not _may_read(request):
        raise BadCredential
    standing = CollectorRegistry()
    standing.register(Standings())
    return HttpResponse(generate_latest(_counted()) + generate_latest(standing), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        told = request.headers.get("Authorization", "").encode()
        return hmac.compare_digest(told, f"Bearer {settings.METRICS_TOKEN}".encode())
    if {"X-Forwarded-For", "Forwarded", "X-Real-IP"} & set(request.headers):
        return False  # somebody else's request, which a proxy on this machine handed on
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _counted() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return registry


class Standings(Collector):
    """The gauges. Without the database there is one: acs_database_up 0."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            families = [_family(standing) for standing in standings.look(timezone.now())]
        except (DatabaseError, PoolTimeout) as error:
            log.warning("gauges_unreadable", error=str(error))
            families = []
        yield GaugeMetricFamily("acs_database_up", "Whether the database answers.", value=1 if families else 0)
        yield from families


def _family(standing: standings.Standing) -> GaugeMetricFamily:
    family = GaugeMetricFamily(standing.name, standing.meaning, labels=standing.labels)
    for values, number in standing.values:
        family.add_metric([str(value) for value in values], float(number))
    return family
