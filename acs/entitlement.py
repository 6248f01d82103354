"""Whether a device may ask at all: its proof, its tenant's state, and what admins decided about this very device."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from django.utils.translation import gettext as _

from acs import callers
from acs.callers import Proof
from acs.door import BootstrapRequest
from placement import grants
from placement.standing import Standing
from tenants import enrolments
from tenants.errors import ApprovalPending, MalformedRequest, PaymentOverdue, RegistrationRefused, TenantSuspended
from tenants.models import Enrolment, Tenant


def recognise(proof: Proof, request: BootstrapRequest, now: datetime) -> tuple[bytes, BootstrapRequest]:
    """The credential's digest, and the request with the registration id that the proof vouches for.

    Raises: BadCredential, RegistrationRefused, MalformedRequest.
    """
    caller = callers.recognise(proof, account=request.account, repeatable=request.repeatable, now=now)
    if caller.registration_id is None:
        return caller.digest, request
    if request.registration_id not in (None, caller.registration_id):
        raise MalformedRequest({"registration_id": _("not the one that the credential is for")})
    own = _own(request.idempotency_key, caller.registration_id)
    return caller.digest, replace(request, registration_id=caller.registration_id, idempotency_key=own)


def _own(idempotency_key: str | None, registration_id: str) -> str | None:
    """A group's devices, and a policy's workloads, share one credential, and may send one body: their idempotency keys are kept apart by their names."""
    return hashlib.sha256(f"{registration_id}\n{idempotency_key}".encode()).hexdigest() if idempotency_key else None


def refuse_unproven(who: Standing) -> None:
    """A name that was proven is not for those who merely say it. Raises: RegistrationRefused."""
    if who.slot_id is not None and who.proven and not who.proves:
        raise RegistrationRefused(f"the name was proven by the {grants.prover_of(who.tenant_id, who.slot_id)}; a bearer key proves none")


def refuse_unwanted(state: str, approval: bool, request: BootstrapRequest, tenant_id: UUID, key_id: UUID) -> None:
    """What admins decided about this very device. Raises: RegistrationRefused, ApprovalPending, MalformedRequest."""
    if state == Enrolment.State.DISABLED:
        raise RegistrationRefused("the enrolment is disabled")
    if approval and state != Enrolment.State.ENABLED:
        if request.registration_id is None:
            raise MalformedRequest({"registration_id": _("needed, for an admin has to accept the device")})
        raise ApprovalPending(_("an admin has to accept the device"), tenant_id, key_id)


def apply(unaccepted: ApprovalPending, request: BootstrapRequest, now: datetime) -> None:
    """The device is in the queue that an admin sees. Raises: ApprovalQueueFull, BadCredential (used up)."""
    device = request.registration_id or ""
    enrolments.apply_for(unaccepted.tenant_id, device, key_id=unaccepted.key_id, hostname=request.hostname, os=request.os, now=now)


def refuse_suspended(state: str) -> None:
    """Raises: TenantSuspended."""
    if state != Tenant.State.ACTIVE:
        raise TenantSuspended(_("the tenant is closed") if state == Tenant.State.CLOSED else _("the tenant is suspended"))


def refuse_overdue(restricted: bool) -> None:
    """Raises: PaymentOverdue."""
    if restricted:
        raise PaymentOverdue(_("a payment of the tenant is overdue: there are no new keys until it has come"))
