"""What is known of one device's way into its network. Secrets are no part of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RefusalFacts:
    """Requests that were refused alike: `code` as the device was told it, `reason` for people."""

    code: str
    reason: str
    times: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class GrantFacts:
    """One promised key."""

    id: str
    state: str
    cluster_id: str
    credential: str
    created_at: datetime
    issued_at: datetime | None
    expires_at: datetime
    redeemed_at: datetime | None


@dataclass(frozen=True)
class DeviceFacts:
    """What joined. `others`: devices of its tenant beside it; `peers`: those of them that it may reach or is reached by; `first_online_at` is the first time that a poll saw it so;
    `granted`: it came with a key of ours."""

    name: str
    joined_at: datetime
    first_online_at: datetime | None
    online: bool
    last_seen: datetime | None
    login_expires_at: datetime | None
    gone_at: datetime | None
    tagged: bool
    peers: int
    others: int = 0
    granted: bool = True
    unexpected: str = ""


@dataclass(frozen=True)
class ClusterFacts:
    """The server as ACS last saw it. `failures`: polls in a row that failed; `polled_at`: when the last complete one began."""

    cluster_id: str
    state: str
    failures: int
    polled_at: datetime | None
    poll_seconds: float


@dataclass(frozen=True)
class NetFacts:
    """What the device's own side reported. None everywhere: not told. `clock_off`: seconds by which its clock is ahead of ours."""

    at: datetime
    udp: bool | None = None
    ipv6: bool | None = None
    hard_nat: bool | None = None  # its address looks different to every peer
    port_mapping: bool | None = None  # by UPnP, NAT-PMP or PCP
    captive_portal: bool | None = None
    derp: bool | None = None  # a relay could be reached
    dns: str | None = None  # "ok", or what went wrong
    tcp: str | None = None
    tls: str | None = None
    clock_off: float | None = None


@dataclass(frozen=True)
class Known:
    """Everything about one device. `suspended`: its tenant gets no keys; `enrolment`: what an admin decided about it, empty for nothing."""

    registration_id: str
    suspended: bool = False
    enrolment: str = ""
    refusals: tuple[RefusalFacts, ...] = ()
    grants: tuple[GrantFacts, ...] = ()
    devices: tuple[DeviceFacts, ...] = ()
    cluster: ClusterFacts | None = None
    net: NetFacts | None = None
