"""What a device asks at the door, checked for form, and what it is answered."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.utils.translation import gettext as _

from acs.callers import Proof
from acs.throttle import Spent
from placement.grants import Asked


@dataclass
class Trail:
    """What admission found out about a request on its way: the limits that it hit, for the answer's headers, and whose credential it showed."""

    spent: list[Spent] = field(default_factory=list)
    digest: bytes | None = None
    registration_id: str | None = None


@dataclass(frozen=True)
class BootstrapRequest:
    """What a device sent, checked for form."""

    proof: Proof | None
    account: str
    plan: str
    want_region: str
    latencies: Mapping[str, float]
    country: str
    registration_id: str | None
    hostname: str
    os: str
    idempotency_key: str | None
    digest: bytes
    address: str
    trail: Trail = field(default_factory=Trail, compare=False, repr=False)

    @property
    def named(self) -> bool:
        """Whether the device can be known again when it comes back."""
        return self.registration_id is not None or self.idempotency_key is not None

    @property
    def asked(self) -> Asked:
        return Asked(self.digest, self.idempotency_key, self.registration_id, self.hostname, self.os)

    @property
    def repeatable(self) -> bytes | None:
        """What makes a repeat the same request: its body and its Idempotency-Key. None for a request without such a key."""
        return hashlib.sha256(self.digest + self.idempotency_key.encode()).digest() if self.idempotency_key else None


@dataclass(frozen=True, repr=False)
class Admission:
    """Where the device goes and, for holders of a credential, the key that lets it in."""

    cluster_id: str
    headscale_url: str
    auth_key: str | None = None
    expires_at: datetime | None = None
    hostname: str = ""
    enrolled: bool = False  # the device is there already, and its credential says that it keeps what it has

    @property
    def auth_mode(self) -> str:
        return "authkey" if self.auth_key else "enrolled" if self.enrolled else "oidc"

    @property
    def derp_map(self) -> str:
        return f"{settings.PUBLIC_URL}/api/v1/derp/{self.cluster_id}.json"

    @property
    def command(self) -> str:
        words = ["tailscale", "up", f"--login-server={self.headscale_url}", f"--auth-key={self.auth_key}"]
        if self.hostname:
            words.append(f"--hostname={self.hostname}")
        return shlex.join(words)

    @property
    def note(self) -> str:
        if self.enrolled:
            return _("The device is enrolled already and keeps its login; delete it first to enrol it anew.")
        if not self.auth_key:
            return _("Run tailscale up with this login server and sign in as a person.")
        if not settings.TENANT_DOMAIN:
            return _(
                "Run the command on the device. This service has no gateway: should the tenant move to another cluster, the device will have to log in again."
            )
        return _("Run the command on the device.")
