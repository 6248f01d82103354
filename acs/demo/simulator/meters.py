"""The metrics of headscale that ACS reads, with its names.

headscale computes after every batch of writes who sees whom; writes that come meanwhile wait in its queue. Nothing is computed here: what it would
have cost a real server is reckoned, shows in the same figures and counts as CPU on top of this process's own. So load is provoked as it is there:
by many nodes, many rules and many writes.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from acs.demo.simulator.policy import Policy

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PAIR = 1.1e-6  # seconds for a pair of nodes under one rule: 500 nodes and `autogroup:self` alone took headscale 0.12 to 0.15 s
_BATCH = 100  # writes at most that one calculation serves


class Writer:
    """headscale's one writer, on paper. `cost`: seconds that a calculation takes now; `done` is told of each that ended."""

    def __init__(self, cost: Callable[[], float], done: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._cost, self._done, self._clock = cost, done, clock
        self._lock = threading.Lock()
        self._waiting = self._batch = 0
        self._seconds = self._free_at = self._computed = 0.0

    def write(self) -> None:
        with self._lock:
            now = self._settled()
            self._waiting += 1
            if not self._batch:
                self._begin(now)

    def depth(self) -> int:
        """Writes that nobody was answered yet, those of the calculation under way included."""
        with self._lock:
            self._settled()
            return self._batch + self._waiting

    def computed(self) -> float:
        """Seconds spent in all."""
        with self._lock:
            now = self._settled()
            return self._computed + (self._seconds - (self._free_at - now) if self._batch else 0.0)

    def _settled(self) -> float:
        """Carry out what has ended by now; now."""
        now = self._clock()
        while self._batch and self._free_at <= now:
            self._computed += self._seconds
            self._done(self._seconds)
            self._begin(self._free_at)
        return now

    def _begin(self, at: float) -> None:
        self._batch = min(self._waiting, _BATCH)
        self._waiting -= self._batch
        if self._batch:
            self._seconds = self._cost()
            self._free_at = at + self._seconds


class Meters:
    """`count`: how many nodes there are; `policy`: the one in force."""

    def __init__(self, count: Callable[[], int], policy: Callable[[], Policy]) -> None:
        prometheus_client.disable_created_metrics()
        self._registry = CollectorRegistry()
        self._writer = Writer(lambda: count() ** 2 / 2 * _PAIR * weight(policy()), self._observe)
        self._registry.register(_Process(self._writer.computed))
        Gauge("go_goroutines", "Number of threads.", registry=self._registry).set_function(threading.active_count)
        Gauge("headscale_nodestore_nodes", "Total number of nodes in the NodeStore", registry=self._registry).set_function(count)
        depth = Gauge("headscale_nodestore_queue_depth", "Current depth of NodeStore write queue", registry=self._registry)
        depth.set_function(self._writer.depth)
        self._peers = self._histogram("headscale_nodestore_peers_calculation_duration_seconds")
        self._batches = self._histogram("headscale_nodestore_batch_duration_seconds")
        self._operations = Counter("headscale_nodestore_operations_total", "NodeStore operations", ["operation"], registry=self._registry)
        Counter("headscale_mapresponse_generated_total", "mapresponses generated", ["response_type"], registry=self._registry)
        Counter("headscale_mapresponse_sent_total", "mapresponses sent", ["status", "type"], registry=self._registry)
        self.written()

    def _histogram(self, name: str) -> Histogram:
        return Histogram(name, "Seconds taken.", buckets=_BUCKETS, registry=self._registry)

    def _observe(self, seconds: float) -> None:
        self._peers.observe(seconds)
        self._batches.observe(seconds)

    def written(self) -> None:
        """A write to the nodes: where headscale would compute who sees whom."""
        self._operations.labels("update").inc()
        self._writer.write()

    def text(self) -> bytes:
        self._writer.depth()  # what has ended by now is to be in the histograms
        return generate_latest(self._registry)


def weight(policy: Policy) -> float:
    """What a pair of nodes costs relative to one under a single rule. Literal rules are cheap among themselves and dear beside `autogroup:self`, as measured."""
    written = len(policy.acls or ()) + len(policy.grants or ())
    mixed = any("autogroup:self" in rule.dst for rule in policy.rules or ())
    return max(1.0, written if mixed else written / 10)


class _Process(Collector):
    """This process's figures, with what was `computed` on paper counted as CPU. Where there is no /proc, the two that ACS reads."""

    def __init__(self, computed: Callable[[], float]) -> None:
        self._own, self._computed = ProcessCollector(registry=None), computed

    def collect(self) -> Iterator[Metric]:
        told = {family.name: family for family in self._own.collect()}
        used = time.process_time() + self._computed()
        told["process_cpu_seconds"] = CounterMetricFamily(
            "process_cpu_seconds", "Total user and system CPU time spent in seconds.", value=used
        )
        if "process_resident_memory_bytes" not in told:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            told["process_resident_memory_bytes"] = GaugeMetricFamily(
                "process_resident_memory_bytes", "Resident memory size in bytes.", value=most
            )
        yield from told.values()
