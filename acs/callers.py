"""Who is asking: the credential that a request carries, recognised.

A bearer key is its own proof, a signature proves a device of an enrolment group, and a bearer text in the form of a JWT a workload that its tenant trusts.
What comes out is the digest by which admission finds the
credential's row, and the registration id where the proof itself names one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

from tenants import groups, signing, webtokens, workloads
from tenants.errors import BadCredential, MalformedRequest
from tenants.tokens import digest_of


@dataclass(frozen=True, repr=False)
class Proof:
    """What the request's Authorization header said, with what a signature covers. `kind`: bearer, signed, token or other."""

    kind: str
    text: str
    method: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Caller:
    """A recognised credential. `registration_id` is what the proof vouches for, None where it vouches for none."""

    digest: bytes
    registration_id: str | None = None


def proof_of(request: HttpRequest, body: bytes) -> Proof | None:
    """None where no credential was sent at all. An Authorization header that nobody can read is a proof that proves nothing."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _space, text = header.strip().partition(" ")
    text = text.strip()
    if scheme.upper() == signing.SCHEME and text:
        kind = "signed"
    elif scheme.lower() == "bearer" and text:
        kind = "token" if webtokens.is_one(text) else "bearer"
    else:
        kind = "other"
    return Proof(kind, text, str(request.method), request.path, body)


def recognise(proof: Proof, *, account: str, repeatable: bytes | None, now: datetime) -> Caller:
    """The caller. `account` is whom the request names, and it has to with a token: other tenants may trust the same issuer.

    `repeatable`: the digest of a request that may present its token once more, None where it may not. A bearer key is only looked up by admission itself.
    Raises: BadCredential, RegistrationRefused, MalformedRequest (a token without an account).
    """
    if proof.kind == "other":
        raise BadCredential
    if proof.kind == "token":
        if not account:
            raise MalformedRequest({"account": _("needed with a workload's token")})
        workload = workloads.recognise(proof.text, account=account, request=repeatable, now=now)
        return Caller(workload.digest, workload.registration_id)
    if proof.kind == "signed":
        try:
            signature = signing.read(proof.text)
        except signing.Unreadable:
            raise BadCredential from None
        digest = groups.recognise(signature, method=proof.method, path=proof.path, body=proof.body, now=now)
        return Caller(digest, signature.registration_id.lower())
    return Caller(digest_of(proof.text))


def claimed(proof: Proof | None) -> tuple[str, str]:
    """The registration id and the group that a signature names, whether it is right or not."""
    if proof is None or proof.kind != "signed":
        return "", ""
    try:
        signature = signing.read(proof.text)
    except signing.Unreadable:
        return "", ""
    return signature.registration_id.lower(), signature.group


def address_of(request: HttpRequest) -> str:
    """The caller's address: what the outermost of our own proxies saw."""
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    trusted = settings.TRUSTED_PROXIES
    if trusted and len(hops) >= trusted:
        return hops[-trusted]
    return str(request.META.get("REMOTE_ADDR", ""))
