"""Who presents a token: the policy of the named account that it passes (tenants/questions.py), and the token spent.

Only the named tenant's policies are asked: what others trust can neither put a workload into their network nor keep it out of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import connection

from tenants import issuers, questions, trust, webtokens
from tenants.errors import BadCredential
from tenants.issuers import NoKeys
from tenants.models import SpentToken, TrustPolicy
from tenants.questions import PLAIN, PROOF, Question, Refused
from tenants.webtokens import Unusable, WebToken

log = structlog.get_logger(__name__)
MOST_CANDIDATES = 20


@dataclass(frozen=True)
class Workload:
    """Whom a token proves: the digest of its policy's credential, and the name under which it is admitted."""

    digest: bytes
    registration_id: str


def recognise(text: str, *, account: str, request: bytes | None, now: datetime) -> Workload:
    """Who presents this token; it is spent with that.

    `request`: the digest of a request that carries an Idempotency-Key, which alone may present the same token again; None without such a key.
    Raises: BadCredential, whose text is for the log and never for the caller.
    """
    try:
        token = webtokens.read(text)
        policy = _chosen(token, account, now)
        _spend(token, policy, request)
    except (Refused, Unusable, NoKeys) as error:
        log.info("workload_refused", account=account, reason=str(error)[:600])
        raise BadCredential(str(error)) from error
    return Workload(bytes(policy.key.digest), questions.name_of(token, policy, now))


def _chosen(token: WebToken, account: str, now: datetime) -> TrustPolicy:
    """The account's oldest policy that the token passes; the keys are asked for only where all else fits. Raises: Refused, Unusable, NoKeys."""
    policies = _candidates(token, account, now)
    plain = [(policy, _refusal(token, policy, PLAIN, now)) for policy in policies]
    passed = [policy for policy, refusal in plain if refusal is None]
    if len(passed) > MOST_CANDIDATES:
        raise Refused(f"more than {MOST_CANDIDATES} policies of the account fit")
    judged = [(policy, _refusal(token, policy, PROOF, now)) for policy in passed]
    if not judged:
        issuers.look_in_vain()
        webtokens.verify_in_vain(token)
    proven = [policy for policy, refusal in judged if refusal is None]
    if not proven:
        raise next((refusal for _, refusal in judged or plain if refusal), Refused("no policy trusts this issuer for this audience"))
    return proven[0]


def _refusal(token: WebToken, policy: TrustPolicy, asked: dict[str, Question], now: datetime) -> Exception | None:
    """The first question's that the token does not pass, None where it passes all."""
    try:
        for ask in asked.values():
            ask(token, policy, now)
    except (Refused, Unusable, NoKeys) as error:
        return error
    return None


def _candidates(token: WebToken, account: str, now: datetime) -> list[TrustPolicy]:
    issuer = token.claims.get("iss")
    if not isinstance(issuer, str) or not issuer.isprintable():
        raise Refused("the token names no issuer")
    found = trust.live(now=now).filter(issuer=issuer, audience__in=questions.audiences(token), tenant__account=account)
    return list(found.order_by("key__created_at", "pk"))


def is_spent(token: WebToken, policy: TrustPolicy) -> bool:
    return SpentToken.objects.filter(key_id=policy.pk, jti=_jti(token)).exists()


SPEND = """
insert into tenants_spenttoken (key_id, jti, request, expires_at) values (%(key)s, %(jti)s, %(request)s, %(until)s) on conflict (key_id, jti) do nothing
"""


def _spend(token: WebToken, policy: TrustPolicy, request: bytes | None) -> None:
    """Raises: Refused when another request had it before."""
    expires = questions.moment(token, "exp")
    if expires is None:
        raise Refused("the token has no exp")
    jti = _jti(token)
    with connection.cursor() as cursor:
        cursor.execute(SPEND, {"key": policy.pk, "jti": jti, "request": request, "until": expires + questions.LEEWAY})
        if cursor.rowcount == 1:
            return
    before = SpentToken.objects.filter(key_id=policy.pk, jti=jti).values_list("request", flat=True).first()
    if request is None or before is None or bytes(before) != request:
        raise Refused("the token was used before, by another request")


def _jti(token: WebToken) -> bytes:
    """What makes the token one of a kind: its jti, else what is signed."""
    jti = token.claims.get("jti")
    return hashlib.sha256(b"jti " + jti.encode("utf-8", "surrogatepass")).digest() if isinstance(jti, str) and jti else token.digest
