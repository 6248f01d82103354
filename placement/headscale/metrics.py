"""What a headscale server says about its load at /metrics (its own port, no authentication)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from placement.engine.heat import quantile
from placement.errors import ClusterSilent, ClusterUnreachable
from placement.headscale.wire import NoAnswer, NotSent, exchange, new_client

_PEERS = "headscale_nodestore_peers_calculation_duration_seconds"


@dataclass(frozen=True)
class LoadReading:
    """One reading. Counters (`cpu_seconds`, the buckets) run since the server's start: a rate is the difference of two readings.

    `peer_calculation_p95`: seconds, over all calculations since the start; None before the first, infinity past the largest bucket.
    `peer_calculations`: how many of them. `queue_depth`: writes waiting for the peer map. `nodes`: all nodes, online or not.
    `started_at`: when the server's process began, by its own clock.
    """

    cpu_seconds: float
    memory_bytes: int
    queue_depth: int
    peer_calculations: int
    peer_calculation_p95: float | None
    peer_calculation_buckets: tuple[tuple[float, float], ...]
    nodes: int
    started_at: datetime | None = None


def fetch(cluster_id: str, url: str, timeout: float, *, transport: httpx2.BaseTransport | None = None) -> LoadReading:
    """Read the metrics at `url` (with its path) within `timeout` seconds.

    Raises: ClusterUnreachable, ClusterSilent (no answer, or not headscale's metrics).
    """
    with new_client("", transport=transport) as client:
        try:
            answer = exchange(client, client.build_request("GET", url), deadline=time.monotonic() + timeout)
        except NotSent as error:
            raise ClusterUnreachable(cluster_id, str(error)) from error
        except NoAnswer as error:
            raise ClusterSilent(cluster_id, str(error)) from error
    if answer.status != 200:
        raise ClusterSilent(cluster_id, f"its metrics answered {answer.status}")
    try:
        return parse(answer.body.decode())
    except (ValueError, KeyError, OverflowError) as error:
        raise ClusterSilent(cluster_id, "its metrics are not a headscale server's") from error


def parse(text: str) -> LoadReading:
    """Raises: ValueError (no metrics, or a number that no server can mean), KeyError (a metric is missing), OverflowError."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    value = {sample.name: sample.value for sample in samples if not sample.labels}
    buckets = _buckets(samples)
    told = (value[name] for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "headscale_nodestore_queue_depth"))
    _refuse_nonsense([*told, *(count for _, count in buckets)])
    return LoadReading(
        cpu_seconds=value["process_cpu_seconds_total"],
        memory_bytes=int(value["process_resident_memory_bytes"]),
        queue_depth=int(value["headscale_nodestore_queue_depth"]),
        peer_calculations=int(value[f"{_PEERS}_count"]),
        peer_calculation_p95=quantile(buckets, 0.95),
        peer_calculation_buckets=buckets,
        nodes=int(value["headscale_nodestore_nodes"]),
        started_at=_moment(value.get("process_start_time_seconds")),
    )


def _moment(seconds: float | None) -> datetime | None:
    """Raises: ValueError, OverflowError (no time that a server can mean)."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _refuse_nonsense(values: Iterable[float]) -> None:
    """An average that was fed one NaN stays NaN for ever. Raises: ValueError."""
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError("a counter that is negative or no number")


def _buckets(samples: Iterable[Sample]) -> tuple[tuple[float, float], ...]:
    """(upper bound in seconds, how many up to it), ascending."""
    return tuple(sorted((float(s.labels["le"]), s.value) for s in samples if s.name == f"{_PEERS}_bucket"))
