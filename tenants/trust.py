"""Trust policies: made and changed. Revoking one is revoking its credential (tenants/credentials.py); tokens are judged by tenants/workloads.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from tenants import audit, claims, credentials, outbound, webtokens
from tenants.errors import MalformedRequest, WrongState
from tenants.models import EnrolmentKey, Tenant, TrustPolicy
from tenants.outbound import Forbidden
from tenants.webtokens import Unusable

OWN = ("issuer", "audience", "subject", "claims", "jwks_uri", "jwks", "registration_claim")
LONGEST = {"issuer": 300, "audience": 300, "subject": 512, "jwks_uri": 500, "registration_claim": 120}
MOST_CLAIMS, MOST_PATTERNS, LONGEST_CLAIMS, LONGEST_JWKS = 32, 32, 4096, 64 * 1024
MOST_POLICIES = 200  # of one tenant, revoked ones not counted


@transaction.atomic
def make(tenant: Tenant, name: str, *, now: datetime, actor: str, **wish: Any) -> TrustPolicy:
    """A new policy. `wish`: OWN, of which issuer, audience and subject are needed, and what every credential has (credentials.SETTINGS).

    Raises: MalformedRequest naming each field, WrongState (the tenant is closed, or has too many policies).
    """
    own, settings = _split(wish)
    own = _checked(
        {"claims": {}, "jwks_uri": "", "jwks": None, "registration_claim": "sub", "issuer": "", "audience": "", "subject": ""} | own
    )
    held = TrustPolicy.objects.of(tenant)
    if held.filter(name=name).exists():
        raise MalformedRequest({"name": _("taken")})
    if held.filter(key__revoked_at=None).count() >= MOST_POLICIES:
        raise WrongState(_("the tenant has %(count)d trust policies: revoke some first") % {"count": MOST_POLICIES})
    key = credentials.make(tenant, kind=EnrolmentKey.Kind.WORKLOAD, hint=f"policy {name}"[:24], now=now, **settings)
    policy = TrustPolicy.objects.create(key=key, tenant=tenant, name=name, **own)
    told = {field: own[field] for field in ("issuer", "audience", "subject", "claims", "registration_claim")}
    audit.record("trust_policy.make", actor=actor, tenant=tenant, target=f"trust_policy:{key.pk}", now=now, name=name, **told)
    return policy


@transaction.atomic
def change(policy: TrustPolicy, *, now: datetime, actor: str, **wish: Any) -> TrustPolicy:
    """Other settings for what is asked from now on. Raises: MalformedRequest, WrongState (revoked)."""
    own, settings = _split(wish)
    held = TrustPolicy.objects.of(policy.tenant_id)
    current = held.select_for_update(of=("self",)).get(pk=policy.pk)
    if own:
        checked = _checked({field: getattr(current, field) for field in OWN} | own)
        held.filter(pk=policy.pk).update(**{field: checked[field] for field in own})
    credentials.change(policy.key, now=now, **settings)
    audit.record(
        "trust_policy.change",
        actor=actor,
        tenant=policy.tenant,
        target=f"trust_policy:{policy.pk}",
        now=now,
        **{field: own[field] for field in own if field != "jwks"},
        fields=sorted(wish),
    )
    return held.select_related("key", "tenant").get(pk=policy.pk)


def live(*, now: datetime) -> QuerySet[TrustPolicy]:
    """Of all tenants, those that are neither revoked nor expired."""
    unexpired = Q(key__expires_at=None) | Q(key__expires_at__gt=now)
    return TrustPolicy.objects.across_tenants().select_related("key", "tenant").filter(unexpired, key__revoked_at=None)


def _split(wish: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {name: wish[name] for name in wish if name in OWN}, {name: wish[name] for name in wish if name not in OWN}


def _checked(own: dict[str, Any]) -> dict[str, Any]:
    """The policy's own fields as they are kept. Raises: MalformedRequest naming each field."""
    wrong = {
        name: _("up to %(most)d characters, no spaces at its ends, no control characters") % {"most": most}
        for name, most in LONGEST.items()
        if len(own[name]) > most or own[name] != own[name].strip() or not own[name].isprintable()
    }
    wrong |= {name: _("needed") for name in ("issuer", "audience", "subject", "registration_claim") if not own[name]}
    wrong |= _wrong_urls(own, without=wrong)
    if reason := _wrong_claims(own["claims"]):
        wrong["claims"] = reason
    elif own["subject"] and claims.is_bare(own["subject"]) and not _narrowing(own["claims"]):
        wrong["subject"] = _("it would let everybody in whom the issuer knows: name the subject, or a claim")
    if own["jwks"] is not None:
        if own["jwks_uri"]:
            wrong["jwks"] = _("either the keys or their address")
        try:
            own = own | {"jwks": _usable_keys(own["jwks"])}
        except Unusable as error:
            wrong["jwks"] = str(error)
    if wrong:
        raise MalformedRequest(wrong)
    return own


def _wrong_urls(own: dict[str, Any], *, without: Mapping[str, str]) -> dict[str, str]:
    """An issuer whose keys are given is never called: its address may be anything that begins with https://."""
    wrong = {}
    for name in ("issuer", "jwks_uri"):
        if not own[name] or name in without:
            continue
        called = name == "jwks_uri" or not (own["jwks_uri"] or own["jwks"] is not None)
        try:
            target = outbound.check(own[name], any_port=not called)
        except Forbidden as error:
            wrong[name] = str(error)
        else:
            if name == "issuer" and target.url.query:
                wrong[name] = _("no query belongs into it")
    return wrong


def _wrong_claims(wanted: Any) -> str:
    """What is wrong with them, or nothing."""
    if not isinstance(wanted, dict) or len(wanted) > MOST_CLAIMS or len(json.dumps(wanted)) > LONGEST_CLAIMS:
        return _("an object of at most %(most)d claims") % {"most": MOST_CLAIMS}
    for name, patterns in wanted.items():
        each = patterns if isinstance(patterns, list) else [patterns]
        if not 0 < len(name) <= 200 or not name.isprintable() or not 0 < len(each) <= MOST_PATTERNS:
            return _("each claim has a name and a pattern, or a list of at most %(most)d") % {"most": MOST_PATTERNS}
        if not all(isinstance(pattern, str) and 0 < len(pattern) <= 512 and pattern.isprintable() for pattern in each):
            return _("%(name)s: a pattern is a text of up to 512 characters") % {"name": name}
    return ""


def _narrowing(wanted: dict[str, Any]) -> bool:
    """Whether some claim must say something in particular."""
    return any(not any(claims.is_bare(pattern) for pattern in (each if isinstance(each, list) else [each])) for each in wanted.values())


def _usable_keys(jwks: Any) -> dict[str, Any]:
    """Raises: Unusable."""
    if len(json.dumps(jwks)) > LONGEST_JWKS:
        raise Unusable(_("too large"))
    keys = webtokens.public_keys(jwks)
    if not keys["keys"]:
        raise Unusable(_("none of its keys can sign a token that is accepted"))
    return keys
