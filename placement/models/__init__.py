"""The rows of clusters, of who lives where and why, of promised keys and joined devices, and of what servers reported."""

from placement.models.alert import Alert
from placement.models.cluster import Cluster, Fleet
from placement.models.decision import Decision, MovePlan, Waiting
from placement.models.diagnosis import NetReport, Refusal
from placement.models.heat import Heat, TenantHour
from placement.models.living import Binding, Device, Echo, Grant, Slot
from placement.models.login import DeviceLogin
from placement.models.outbox import OutboxEvent
from placement.models.policy import AuditFinding, ClusterPolicy, PolicyPush, Route
from placement.models.region import Nearness, Region
from placement.models.stay import Stay
from placement.models.stock import Minting, StockedKey
from placement.models.topology import Topology
from placement.models.watch import LoadSample, PollRun, Watch

__all__ = [
    "Alert",
    "AuditFinding",
    "Binding",
    "Cluster",
    "ClusterPolicy",
    "Decision",
    "Device",
    "DeviceLogin",
    "Echo",
    "Fleet",
    "Grant",
    "Heat",
    "LoadSample",
    "Minting",
    "MovePlan",
    "Nearness",
    "NetReport",
    "OutboxEvent",
    "PolicyPush",
    "PollRun",
    "Refusal",
    "Region",
    "Route",
    "Slot",
    "Stay",
    "StockedKey",
    "TenantHour",
    "Topology",
    "Waiting",
    "Watch",
]
