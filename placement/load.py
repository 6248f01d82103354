"""Load samples: what a cluster's /metrics said, stored as it was."""

from __future__ import annotations

from datetime import datetime

from placement.headscale.metrics import LoadReading
from placement.models import LoadSample


def store(cluster_id: str, reading: LoadReading, *, sessions: int, at: datetime) -> LoadSample:
    return LoadSample.objects.create(
        cluster_id=cluster_id,
        at=at,
        sessions=sessions,
        cpu_seconds=reading.cpu_seconds,
        memory_bytes=reading.memory_bytes,
        queue_depth=reading.queue_depth,
        peer_calculations=reading.peer_calculations,
        peer_calculation_p95=reading.peer_calculation_p95,
    )
