"""What a tenant used in one range of time, as metering counts it and rating reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Used:
    """Devices seen online at least once, their seconds online, and the clusters that the tenant had to itself.

    `dedicated`: (cluster_id, start, end); start and end are the true ones, not cut to the range, end None while it goes on.
    Raises: ValueError where the seconds of the clusters do not sum to those of the devices.
    """

    active_devices: int = 0
    device_seconds: int = 0
    seconds_by_cluster: Mapping[str, int] = field(default_factory=dict)
    dedicated: tuple[tuple[str, datetime, datetime | None], ...] = ()

    def __post_init__(self) -> None:
        seconds = tuple(self.seconds_by_cluster.values())
        if self.active_devices < 0 or any(part < 0 for part in seconds):
            raise ValueError("nobody uses less than nothing")
        if sum(seconds) != self.device_seconds:
            raise ValueError(f"{self.device_seconds} s of devices, {sum(seconds)} s on clusters")
