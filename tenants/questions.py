"""What a token has to pass before it lets a workload in, question by question, each with an answer that an admin can read.

All but the last look at a token's own words, which anybody can write: what counts is that the signature fits as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tenants import claims, issuers, webtokens
from tenants.issuers import NoKeys
from tenants.models import TrustPolicy
from tenants.webtokens import NoSuchKey, Unusable, WebToken

LEEWAY = timedelta(seconds=60)  # how far the issuer's clock may be off ours
LONGEST_LIFE = timedelta(hours=24)
LATEST = 2**33  # seconds: year 2242, and far from where dates end


class Refused(Exception):
    """The token does not pass a question; the text says why."""


@dataclass(frozen=True)
class Answer:
    """What one question came to."""

    question: str
    passed: bool
    detail: str


def _algorithm(token: WebToken, policy: TrustPolicy, now: datetime) -> str:  # noqa: ARG001 - as all questions
    return webtokens.check_algorithm(token)


def _issuer(token: WebToken, policy: TrustPolicy, now: datetime) -> str:  # noqa: ARG001
    if token.claims.get("iss") != policy.issuer:
        raise Refused(f"iss is {_shown(token.claims.get('iss'))}, the policy trusts {policy.issuer}")
    return policy.issuer


def _audience(token: WebToken, policy: TrustPolicy, now: datetime) -> str:  # noqa: ARG001
    if policy.audience not in audiences(token):
        raise Refused(f"aud is {_shown(token.claims.get('aud'))}, the policy wants {policy.audience}")
    return policy.audience


def _subject(token: WebToken, policy: TrustPolicy, now: datetime) -> str:  # noqa: ARG001
    subject = token.claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= claims.LONGEST_TEXT or not claims.matches(policy.subject, subject):
        raise Refused(f"sub is {_shown(subject)}, the policy wants {policy.subject}")
    return subject


def _claims(token: WebToken, policy: TrustPolicy, now: datetime) -> str:  # noqa: ARG001
    for name, wanted in policy.claims.items():
        told = claims.claim(token.claims, name)
        if told is claims.MISSING:
            raise Refused(f"the token has no claim {name}")
        if not claims.fits(told, wanted):
            raise Refused(f"{name} is {_shown(told)}, the policy wants {wanted}")
    return ", ".join(policy.claims) or "none wanted"


def _times(token: WebToken, policy: TrustPolicy, now: datetime) -> str:  # noqa: ARG001
    expires, begins, issued = (moment(token, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise Refused("the token has no exp: it would be good for ever")
    if expires + LEEWAY <= now:
        raise Refused(f"expired {expires.isoformat()}")
    for name, when in (("nbf", begins), ("iat", issued)):
        if when is not None and when - LEEWAY > now:
            raise Refused(f"{name} is {when.isoformat()}, which is still to come")
    if expires - (issued or now) > LONGEST_LIFE:
        raise Refused(f"it is good for longer than {LONGEST_LIFE}")
    return f"until {expires.isoformat()}"


def name_of(token: WebToken, policy: TrustPolicy, now: datetime) -> str:  # noqa: ARG001
    """The registration id under which the workload is admitted. Raises: Refused."""
    text = claims.text_of(claims.claim(token.claims, policy.registration_claim))
    if not text or len(text) > claims.LONGEST_TEXT:
        raise Refused(f"the claim {policy.registration_claim} gives no name for the device")
    return claims.squeeze(text)


def _signature(token: WebToken, policy: TrustPolicy, now: datetime) -> str:
    webtokens.check_algorithm(token)  # before anybody is asked for keys
    try:
        return webtokens.verify(token, issuers.keys_of(policy, now=now))
    except NoSuchKey:
        newer = issuers.newer_keys_of(policy, now=now)
        if newer is None:
            raise
        return webtokens.verify(token, newer)


Question = Callable[[WebToken, TrustPolicy, datetime], str]
PLAIN: dict[str, Question] = {
    "issuer": _issuer,
    "audience": _audience,
    "subject": _subject,
    "claims": _claims,
    "algorithm": _algorithm,
    "time": _times,
    "registration id": name_of,
}
PROOF: dict[str, Question] = {"signature": _signature}


def judge(token: WebToken, policy: TrustPolicy, *, now: datetime) -> Iterator[Answer]:
    """Every question with its answer, also after one that was not passed. Spends nothing; may fetch the issuer's keys."""
    for question, ask in {**PLAIN, **PROOF}.items():
        try:
            yield Answer(question, True, ask(token, policy, now))
        except (Refused, Unusable, NoKeys) as error:
            yield Answer(question, False, str(error))


def audiences(token: WebToken) -> list[str]:
    """Whom the token is for."""
    told = token.claims.get("aud")
    return [each for each in (told if isinstance(told, list) else [told]) if isinstance(each, str) and each.isprintable()][:32]


def moment(token: WebToken, name: str) -> datetime | None:
    """One of the token's times, None where it has none. Raises: Refused."""
    told = token.claims.get(name)
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= LATEST:
        raise Refused(f"{name} is no time")
    return datetime.fromtimestamp(told, UTC)


def _shown(told: object) -> str:
    return repr(told)[:200]
