"""A device reports its own side with its credential: believed as far as a credential of its tenant goes, and limited like any request at the door."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from acs import callers, throttle
from acs.callers import Proof
from acs.throttle import Hit, Spent
from placement.diagnosis import notes
from tenants import credentials
from tenants.errors import BadCredential, MalformedRequest, ReplayedRequest, SkewedClock

ACCOUNT = re.compile(r"[a-z0-9-]{0,63}\Z")


def take(proof: Proof | None, told: Mapping[str, Any], *, address: str, now: datetime) -> None:
    """Raises: BadCredential, RegistrationRefused, MalformedRequest, TooManyRequests."""
    spent: list[Spent] = []
    account = told.get("account", "")
    if not isinstance(account, str) or not ACCOUNT.match(account):
        raise MalformedRequest({"account": _("must be an account name")})
    throttle.spend(spent, Hit("address", address))
    try:
        if proof is None:
            raise BadCredential
        caller = callers.recognise(proof, account=account, repeatable=None, now=now)
        throttle.spend(spent, Hit("credential", caller.digest.hex()[:32]))
        key = credentials.valid(caller.digest, now=now)
        if account not in ("", key.tenant.account):
            raise BadCredential
    except (SkewedClock, ReplayedRequest):
        raise
    except BadCredential:
        throttle.spend(spent, Hit("bad-credential", address))
        raise
    named = told.get("registration_id")
    registration_id = caller.registration_id or named
    if not isinstance(registration_id, str) or not isinstance(named, str | None):
        raise MalformedRequest({"registration_id": "needed: the device's name for itself"})
    if caller.registration_id and named is not None and named.lower() != caller.registration_id:
        raise MalformedRequest({"registration_id": "not the one that the credential is for"})
    said = {name: value for name, value in told.items() if name not in ("account", "registration_id")}
    notes.report(key.tenant, registration_id, said, by=f"device:{registration_id}", now=now)
