"""The rows of clusters, of who lives where, of promised keys and joined devices, and of what servers reported."""

from placement.models.cluster import Cluster, Fleet
from placement.models.living import Binding, Device, Echo, Grant, Slot
from placement.models.outbox import OutboxEvent
from placement.models.watch import LoadSample, PollRun, Watch

__all__ = ["Binding", "Cluster", "Device", "Echo", "Fleet", "Grant", "LoadSample", "OutboxEvent", "PollRun", "Slot", "Watch"]
