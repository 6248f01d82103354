"""A device asks to join: who is it, may its tenant have one more, where does the tenant live, which key opens that door.

On a fleet in our own database everything inside `one_transaction` is one commit: a crash before it leaves nothing, a crash after it leaves
a grant whose key the same request will be told again. No server is called. Elsewhere the promise is committed first and the
server asked after it; what it did not answer, the sweeper settles. On an external cluster a key from the tenant's stock needs no server either, and
what the server has no time for keeps its place in the queue.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, InternalError, transaction
from django.db.models import F, Q
from django.utils.translation import gettext as _

from acs import directions, entitlement, tasks, throttle, wiring
from acs.callers import Proof
from acs.door import Admission, BootstrapRequest
from acs.throttle import Hit
from placement import bindings, external, fulfilment, grants, nearness, standing, stock
from placement.engine.regions import Wish
from placement.errors import ClusterBusy, ClusterSilent, ClusterUnreachable, NoClusterAvailable
from placement.grants import Promised, SlotVanished
from placement.headscale import ahead, keys
from placement.models import Cluster, Grant
from placement.names import headscale_url
from placement.standing import Promise, Standing
from tenants import credentials
from tenants.errors import (
    ApprovalPending,
    BadCredential,
    IdempotencyMismatch,
    QuotaExceeded,
    RegistrationRefused,
    ReplayedRequest,
    SkewedClock,
)
from tenants.models import Enrolment, EnrolmentKey

TRIES = 4  # how often a race with the same registration or idempotency key is looked at again
SHORTEST_USEFUL = timedelta(seconds=60)  # a live key with less time left is replaced, not told again


class AlreadyEnrolled(Exception):
    """The device is there, and its credential says that it keeps what it has."""

    def __init__(self, who: Standing) -> None:
        super().__init__(who.cluster_id)
        self.who = who


def bootstrap(request: BootstrapRequest, *, now: datetime) -> Admission:
    """Admit one device.

    Raises: BadCredential, UnknownAccount, TenantSuspended, PaymentOverdue, QuotaExceeded, RegionNotInPlan, NoClusterAvailable, TooManyRequests, RegistrationRefused,
        ApprovalPending, IdempotencyMismatch, MalformedRequest, ClusterError (acs/errors.py gives each its HTTP status and code).
    """
    if request.proof is None:
        return directions.directions(request)
    try:
        return _recognised(request.proof, request, now)
    except (SkewedClock, ReplayedRequest):
        raise  # signed rightly: no guess at a secret
    except BadCredential:
        request.trail.spent.clear()  # how often a worthless secret was tried is nobody's to know: it may have been somebody's once
        throttle.spend(request.trail.spent, Hit("bad-credential", request.address, shown=True))
        raise


def _recognised(proof: Proof, request: BootstrapRequest, now: datetime) -> Admission:
    if proof.kind == "token":  # recognising one may mean asking its issuer
        throttle.spend(request.trail.spent, Hit("address", request.address))
    try:
        digest, request = entitlement.recognise(proof, request, now)
    except (SkewedClock, ReplayedRequest, RegistrationRefused):
        if proof.kind != "token":
            throttle.spend(request.trail.spent, Hit("address", request.address))
        raise
    request.trail.digest, request.trail.registration_id = digest, request.registration_id
    tenant_id = credentials.tenant_of(digest)
    limits = [Hit("credential", digest.hex()[:32], shown=True), *([Hit("account", str(tenant_id))] if tenant_id else [])]
    throttle.spend(request.trail.spent, *([] if proof.kind == "token" else [Hit("address", request.address)]), *limits)
    try:
        return _admit(digest, request, now)
    except ClusterBusy as busy:
        wiring.refill_soon(busy.cluster_id)
        raise
    except AlreadyEnrolled as there:
        return Admission(there.who.cluster_id, headscale_url(there.who.account, there.who.client_url), enrolled=True)
    except ApprovalPending as unaccepted:
        entitlement.apply(unaccepted, request, now)
        raise


def _admit(digest: bytes, request: BootstrapRequest, now: datetime) -> Admission:
    """Look up who asks, promise a key; again where somebody admits the same device this moment."""
    looked_again = False
    for attempt in range(TRIES):
        ahead.prepare(settings.KEYRING)
        try:
            with transaction.atomic():  # one transaction: quota, slot, grant and key
                who = standing.look_up(
                    digest=digest,
                    account=request.account,
                    idempotency_key=request.idempotency_key,
                    registration_id=request.registration_id,
                    now=now,
                )
                if who is not None:
                    entitlement.refuse_suspended(who.tenant_state)
                    entitlement.refuse_overdue(who.restricted)
                    entitlement.refuse_unproven(who)
                    entitlement.refuse_unwanted(who.enrolment_state, who.approval, request, who.tenant_id, who.enrolment_key_id)
                    _refuse_offline(who)
                    promised = _replay(who, request, now) or _promise(who, request, now)
        except (IntegrityError, SlotVanished):
            continue  # somebody is admitting the same device this moment: look again, and find what they promised
        except InternalError:
            # "new multixact has more than one updating member": rare, where others are refused and roll back this moment
            if attempt == TRIES - 1:
                raise
            continue
        except (QuotaExceeded, BadCredential) as refused:
            if looked_again or not (request.idempotency_key or request.registration_id or isinstance(refused, BadCredential)):
                raise
            looked_again = True  # the last place may have gone this moment, to this very device even: look what is the matter now
            continue
        if who is None:
            _place(digest, request, now)
            continue
        return _welcome(who, promised, request, now)
    raise NoClusterAvailable(_("the same device is being admitted by too many requests at once"))


def _refuse_offline(who: Standing) -> None:
    """A cluster that its operators took out of service answers nobody: a key for it would only run out."""
    if who.cluster_state == Cluster.State.OFFLINE:
        raise ClusterUnreachable(who.cluster_id, "the cluster is out of service")


def _place(digest: bytes, request: BootstrapRequest, now: datetime) -> None:
    """First contact of a tenant: give it a cluster. Whoever gets here without a valid credential is told so."""
    useful = Q(max_uses=None) | Q(uses__lt=F("max_uses"))
    valid = (
        EnrolmentKey.objects.across_tenants()
        .select_related("tenant__plan")
        .filter(useful, digest=digest, revoked_at=None)
        .exclude(expires_at__lte=now)
    )
    key = valid.filter(tenant__account=request.account).first() if request.account else valid.first()
    if key is None:
        raise BadCredential
    entitlement.refuse_suspended(key.tenant.state)
    entitlement.refuse_overdue(key.tenant.restricted_at is not None)
    known = Enrolment.objects.of(key.tenant).filter(registration_id=request.registration_id).values_list("state", flat=True).first()
    entitlement.refuse_unwanted(known or "", key.approval, request, key.tenant.pk, key.pk)
    near = "" if request.want_region or key.want_region else nearness.near(request.address, request.country)
    bindings.settle(key.tenant, wish=Wish(request.want_region or key.want_region, request.latencies, near, key.want_cluster), now=now)
    if settings.GATEWAY_SOCKETS:
        wiring.enqueue(tasks.publish_route, str(key.tenant.pk))


def _replay(who: Standing, request: BootstrapRequest, now: datetime) -> Promise | None:
    """What this request, or this device, was promised before and can be told again."""
    if before := who.repeated:
        untold = before.state == "expired" and not who.fleet_name and not before.answer_sealed  # its server had fallen silent
        if untold or before.state == "released" or now - before.created_at > grants.IDEMPOTENCY_HELD:
            grants.forget_idempotency(before.grant_id)
        elif before.digest != request.digest:
            raise IdempotencyMismatch(_("the same Idempotency-Key came with another body"))
        else:
            return before
    if request.idempotency_key and (echo := grants.echoed(who.enrolment_key_id, request.idempotency_key, now=now)):
        grant_id, digest = echo
        if digest != request.digest:
            raise IdempotencyMismatch(_("the same Idempotency-Key came with another body"))
        return standing.promise_of(grant_id)
    useful = who.live is not None and (who.live.state == Grant.State.QUEUED or who.live.expires_at - now > SHORTEST_USEFUL)
    if (live := who.live) and useful and live.enrolment_key_id == who.enrolment_key_id:
        if request.idempotency_key:
            grants.remember_echo(who.enrolment_key_id, request.idempotency_key, live.grant_id, request.digest, now=now)
        return live
    return None


def _promise(who: Standing, request: BootstrapRequest, now: datetime) -> Promised:
    """Raises: AlreadyEnrolled, RegistrationRefused, ClusterSilent, ClusterBusy, and what grants.promise raises."""
    if who.has_device and who.re_enrolment == EnrolmentKey.ReEnrolment.KEEP:
        raise AlreadyEnrolled(who)
    if who.re_enrolment == EnrolmentKey.ReEnrolment.NEVER and request.registration_id and _was_enrolled(who, request.registration_id):
        raise RegistrationRefused("the device was enrolled before, and its credential says once and never again")
    if who.live:
        if who.live.state == "unknown":
            raise ClusterSilent(who.cluster_id, "an earlier request of this device is being settled")
        grants.retire(who.live, who, now=now)
    promised = grants.promise(who, request.asked, now=now)
    return promised if who.fleet_name else stock.hand_over(who, promised, named=request.named, now=now)


def _was_enrolled(who: Standing, registration_id: str) -> bool:
    return (
        who.has_device or Grant.objects.of(who.tenant_id).filter(slot__registration_id=registration_id, state=Grant.State.REDEEMED).exists()
    )


def _welcome(who: Standing, promised: Promise | Promised, request: BootstrapRequest, now: datetime) -> Admission:
    auth_key, expires_at = _auth_key(who, promised, request, now)
    return Admission(who.cluster_id, headscale_url(who.account, who.client_url), auth_key, expires_at, request.hostname)


def _auth_key(who: Standing, promised: Promise | Promised, request: BootstrapRequest, now: datetime) -> tuple[str, datetime]:
    """The key's text and its end: derived on a fleet; from the stock, freshly made or told again on an external cluster."""
    if who.fleet_name:
        made = promised.key if isinstance(promised, Promised) else None
        key = made or keys.derive(settings.KEYRING, promised.keyring_id, promised.grant_id)
        if promised.key_id is None:
            _put_elsewhere(who, promised, key, now)
        return key.text, promised.expires_at
    if isinstance(promised, Promised):
        if promised.queued:
            return fulfilment.ask_again(who, promised, now=now)
        made_now = promised.text or fulfilment.at_once(who, promised, named=request.named, now=now)
        return made_now, promised.expires_at
    if promised.answer_sealed:
        return settings.KEYRING.open(promised.answer_sealed, context=grants.answer_context(promised.grant_id)), promised.expires_at
    if promised.state == Grant.State.QUEUED:
        return fulfilment.ask_again(who, promised, now=now)
    if promised.state in ("reserved", "unknown"):
        raise ClusterSilent(who.cluster_id, "an earlier request of this device is being settled")
    raise IdempotencyMismatch(_("the key of this request has expired: ask with a new Idempotency-Key"))


def _put_elsewhere(who: Standing, promised: Promise | Promised, key: keys.AuthKey, now: datetime) -> None:
    cluster = Cluster.objects.select_related("fleet").get(pk=who.cluster_id)
    key_id = external.put(
        cluster,
        key,
        headscale_user_id=who.headscale_user_id,
        expires_at=promised.expires_at,
        ephemeral=who.ephemeral,
        tags=grants.on_server(who.account, promised.tags),
        now=now,
    )
    if not grants.mark_put(promised.grant_id, key_id=key_id, expires_at=promised.expires_at, now=now):
        raise ClusterSilent(who.cluster_id, "another request of this device was given another key meanwhile")
