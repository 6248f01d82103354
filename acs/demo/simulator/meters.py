"""The metrics of headscale that ACS reads, with its names; CPU and memory are this process's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meters:
    """`count`: how many nodes there are."""

    def __init__(self, count: Callable[[], int]) -> None:
        prometheus_client.disable_created_metrics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Gauge("go_goroutines", "Number of threads.", registry=self._registry).set_function(threading.active_count)
        Gauge("headscale_nodestore_nodes", "Total number of nodes in the NodeStore", registry=self._registry).set_function(count)
        Gauge("headscale_nodestore_queue_depth", "Current depth of NodeStore write queue", registry=self._registry)
        self._peers = self._histogram("headscale_nodestore_peers_calculation_duration_seconds")
        self._batches = self._histogram("headscale_nodestore_batch_duration_seconds")
        self._operations = Counter("headscale_nodestore_operations_total", "NodeStore operations", ["operation"], registry=self._registry)
        Counter("headscale_mapresponse_generated_total", "mapresponses generated", ["response_type"], registry=self._registry)
        Counter("headscale_mapresponse_sent_total", "mapresponses sent", ["status", "type"], registry=self._registry)
        self.written()

    def _histogram(self, name: str) -> Histogram:
        return Histogram(name, "Seconds taken.", buckets=_BUCKETS, registry=self._registry)

    def written(self) -> None:
        """A write to the nodes: where headscale would compute who sees whom."""
        started = time.perf_counter()
        self._operations.labels("update").inc()
        self._peers.observe(time.perf_counter() - started)
        self._batches.observe(time.perf_counter() - started)

    def text(self) -> bytes:
        return generate_latest(self._registry)
