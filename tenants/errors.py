"""What can be wrong about a tenant, a credential or a quota, in the domain's words. acs/errors.py gives each its HTTP answer."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID


class TenantError(Exception):
    """The base of this page."""


class MalformedRequest(TenantError):
    """A request's field is missing, unknown, of the wrong type or out of range. `errors` maps each field to its reason."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in errors.items()))
        self.errors = errors


class BadCredential(TenantError):
    """The secret is unknown, expired, revoked, used up or another tenant's: the caller is never told which.

    `digest`: the credential's, where the proof was right and something else was not. For those who look into it, not for the caller.
    """

    def __init__(self, reason: str = "", digest: bytes | None = None) -> None:
        super().__init__(reason)
        self.digest = digest


class SkewedClock(BadCredential):
    """The signature is right and its time is not. Told to the device, for nobody else can make such a signature. `off`: how late its clock is."""

    def __init__(self, off: timedelta, digest: bytes) -> None:
        late = off > timedelta(0)
        super().__init__(f"the device's clock is {abs(int(off.total_seconds()))} s {'late' if late else 'early'}", digest)
        self.off = off


class ReplayedRequest(BadCredential):
    """The signature is right and its nonce was used before: sign anew."""

    def __init__(self, digest: bytes) -> None:
        super().__init__("this nonce was used before: sign each request anew", digest)


class RegistrationRefused(TenantError):
    """The device is known and not wanted. The reason is for operators and admins, the device is never told."""

    def __init__(self, reason: str, digest: bytes | None = None) -> None:
        super().__init__(reason)
        self.digest = digest


class ApprovalPending(TenantError):
    """The device waits until an admin of its tenant accepts it."""

    def __init__(self, reason: str, tenant_id: UUID, key_id: UUID) -> None:
        super().__init__(reason)
        self.tenant_id, self.key_id = tenant_id, key_id


class UnknownAccount(TenantError):
    """No tenant has this account."""


class TenantSuspended(TenantError):
    """The tenant is suspended or closed; told to holders of one of its credentials only."""


class PaymentOverdue(TenantError):
    """The tenant has not paid: it keeps its devices and gets no new keys. Told to holders of one of its credentials only."""


class NotEntitled(TenantError):
    """The person is no member of the tenant, or one whose role does not allow it."""


class QuotaExceeded(TenantError):
    """Every device slot of the tenant is taken."""


class MembersExceeded(TenantError):
    """The tenant has as many members as its plan lets in."""


class IdempotencyMismatch(TenantError):
    """The idempotency key was used before, for another request."""


class TooManyRequests(TenantError):
    """A limit is spent. `retry_after` says when to come back."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("too many requests")
        self.retry_after = retry_after


class ApprovalQueueFull(TooManyRequests):
    """So many devices wait for an admin's decision that no further one may, be it the credential's own ones or all of the tenant's."""

    def __init__(self, reason: str, retry_after: timedelta) -> None:
        super().__init__(retry_after)
        self.args = (reason,)


class InvalidAccount(TenantError):
    """The name cannot be an account (tenants/accounts.py says what can)."""


class WrongState(TenantError):
    """The act does not fit the state: resuming an active tenant, revoking a revoked key."""


class StaleVersion(TenantError):
    """Somebody else has stored a version since the one that the editor saw. `current` is the number of the version that counts, 0: none."""

    def __init__(self, current: int) -> None:
        super().__init__(f"version {current} is current" if current else "no version is stored")
        self.current = current


class StaleMatch(StaleVersion):
    """The same, where the version was named as a condition of the request (If-Match)."""


class VersionRequired(TenantError):
    """The act replaces what others may have changed: it has to say which version it saw."""
