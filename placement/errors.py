"""What can be wrong about a cluster or a placement, in the domain's words. acs/errors.py gives each its HTTP answer."""

from __future__ import annotations

from tenants.policies.document import Fault


class PlacementError(Exception):
    """The base of this page."""


class RegionNotInPlan(PlacementError):
    """The wished region is not one that the tenant's plan allows."""


class NoClusterAvailable(PlacementError):
    """No active cluster has room for the tenant."""


class NotPlacedYet(NoClusterAvailable):
    """No device of the tenant has joined, so it lives nowhere yet; only a credential places it."""


class PeeringAcrossClusters(PlacementError):
    """Both tenants of a peering have to live on one cluster. The text says which of them could move to the other's."""


class LoginTaken(PlacementError):
    """Another person, or the same one for another tenant, has confirmed this device login first."""


class ForeignDevice(PlacementError):
    """The device that asked to log in is another tenant's: its server would have handed it over."""


class RouteConflict(PlacementError):
    """The prefix overlaps a route of another tenant, who is never named. `offers`: clusters of the same pool where it would not."""

    def __init__(self, reason: str, offers: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.offers = offers


class ClusterError(PlacementError):
    """A server did not do what it was asked. Which of the three it was decides whether a repeat is safe."""

    def __init__(self, cluster_id: str, reason: str) -> None:
        super().__init__(f"{cluster_id}: {reason}")
        self.cluster_id = cluster_id
        self.reason = reason


class ClusterRefused(ClusterError):
    """The server answered no (`status` is its HTTP status). Nothing was done."""

    def __init__(self, cluster_id: str, reason: str, *, status: int) -> None:
        super().__init__(cluster_id, reason)
        self.status = status


class ClusterBusy(ClusterError):
    """More devices ask than the server can mint keys for: come back in `retry_after` seconds. Who has a name keeps its place meanwhile."""

    def __init__(self, cluster_id: str, *, retry_after: int) -> None:
        super().__init__(cluster_id, f"the next key is {retry_after} s away")
        self.retry_after = retry_after


class ClusterUnreachable(ClusterError):
    """The request was never sent: repeating it is safe."""


class ClusterSilent(ClusterError):
    """The request was sent and no usable answer came: it may have been done. Never repeat a create after this; the sweeper settles it."""


class PolicyNotProven(PlacementError):
    """The policy can be read, and what it is to hold does not hold. `faults` are the tenant's own tests that fail.

    `evidence`: what the server said, which may speak of other tenants: for operators alone.
    """

    def __init__(self, reason: str, faults: tuple[Fault, ...] = (), evidence: str = "") -> None:
        super().__init__(reason)
        self.faults, self.evidence = faults, evidence
