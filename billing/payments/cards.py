"""Card payments by Stripe, of the same shape as bank transfer: pages where an invoice is paid, messages of what came, a nightly look at what was missed.

A message is only the reason to look: what it is about is asked for anew, so that forged, replayed, late and reordered ones come to the same rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from billing.corrections import open_amount
from billing.errors import ProviderAway
from billing.models import Invoice, Payment, PaymentLink, ProviderEvent
from billing.payments import ledger, wire
from billing.payments.received import Asked, Received
from tenants import audit
from tenants.errors import TenantError, WrongState

log = structlog.get_logger(__name__)
ACTOR = "system:stripe"
State = ProviderEvent.State
TELLING = ("checkout.session.completed", "checkout.session.async_payment_succeeded")  # money may have come
KEPT = ("charge.refunded", "charge.dispute.created", "checkout.session.async_payment_failed")  # for people to look at
LOOK_BACK = timedelta(days=3)


def ask(invoice: Invoice, *, now: datetime, actor: str) -> Asked:
    """A page for what is open now; while one for that amount is valid, it is that one. Raises: WrongState where nothing is open; ProviderNotSetUp,
    ProviderRefused, ProviderAway."""
    ledger.check(invoice, invoice.currency)
    amount = open_amount(invoice)
    if amount <= 0:
        raise WrongState(_("nothing of the invoice is open"))
    links = PaymentLink.objects.of(invoice.tenant_id).filter(invoice=invoice, amount=amount, expires_at__gt=now + timedelta(minutes=30))
    link = links.first() or _make_link(invoice, amount, now=now, actor=actor)
    return Asked(Payment.Provider.STRIPE, amount, invoice.currency, invoice.name, url=link.url, expires_at=link.expires_at)


def receive(body: bytes, signature: str, *, now: datetime) -> ProviderEvent:
    """A message at the door: verified, kept once, acted on. Raises: BadSignature; ProviderNotSetUp; ProviderAway, upon which Stripe says it again."""
    message = wire.read_message(body, signature)
    facts = {"kind": message.kind, "object_id": message.object_id, "said_at": message.said_at, "received_at": now}
    event, _new = ProviderEvent.objects.get_or_create(pk=message.id, defaults=facts)
    return handle(event, now=now) if event.state == State.WAITING else event


def handle(event: ProviderEvent, *, now: datetime) -> ProviderEvent:
    """Look up what it is about, and enter it. Done before: a no-op. Raises: ProviderAway, ProviderNotSetUp; it waits then."""
    if event.kind in KEPT:
        return _become(event, State.KEPT, "look at it at Stripe; undo the payment if money went back")
    if event.kind not in TELLING:
        return _become(event, State.IGNORED, "")
    try:
        checkout = wire.look_up(event.object_id)
        payment = take(checkout, now=now)
    except ProviderAway:
        raise
    except TenantError as error:
        log.warning("provider_event_kept", provider_event=event.pk, error=f"{type(error).__name__}: {error}")
        return _become(event, State.KEPT, f"{type(error).__name__}: {error}")
    if payment is None:
        return _become(
            event, State.DONE if not checkout.paid else State.KEPT, "not paid yet" if not checkout.paid else "of no invoice of ours"
        )
    return _become(event, State.DONE, str(payment))


def take(checkout: wire.Checkout, *, now: datetime) -> Payment | None:
    """Enter what a page has brought, once. None: nothing yet, or it is of no invoice of ours. Raises: WrongState for another currency."""
    if not checkout.paid or not checkout.payment or not checkout.amount:
        return None
    number = checkout.invoice if checkout.invoice.isdecimal() and len(checkout.invoice) < 19 else "0"
    invoice = Invoice.objects.across_tenants().select_related("subscription", "tenant").filter(pk=int(number)).first()
    if invoice is None:
        return None
    received = Received(Payment.Provider.STRIPE, checkout.payment, checkout.amount, checkout.currency, now, checkout.id)
    return ledger.enter(invoice, received, now=now, actor=ACTOR)


def reconcile(*, now: datetime, back: timedelta = LOOK_BACK) -> int:
    """What messages have not told: every page of the last days is looked at, and messages that wait are handled. Returns how many payments were new."""
    if not settings.STRIPE_KEY:
        return 0
    before = Payment.objects.across_tenants().filter(provider=Payment.Provider.STRIPE).count()
    for checkout in wire.listed(now - back):
        try:
            take(checkout, now=now)
        except TenantError as error:
            log.warning("checkout_not_taken", checkout=checkout.id, error=str(error))
    for event in ProviderEvent.objects.filter(state=State.WAITING).order_by("said_at"):
        handle(event, now=now)
    return Payment.objects.across_tenants().filter(provider=Payment.Provider.STRIPE).count() - before


def _make_link(invoice: Invoice, amount: int, *, now: datetime, actor: str) -> PaymentLink:
    """Stripe is asked outside of any transaction; a page that nobody hears of costs nothing."""
    made = wire.make_checkout(
        invoice=str(invoice.pk),
        title=invoice.name,
        amount=amount,
        currency=invoice.currency,
        email=invoice.buyer.get("email", ""),
        back=f"{settings.PUBLIC_URL}/",
        key=f"acs-{invoice.pk}-{amount}-{invoice.payment_links.count()}",
    )
    facts = {"tenant": invoice.tenant, "invoice": invoice, "url": made.url, "amount": amount, "currency": invoice.currency, "made_at": now}
    with transaction.atomic():
        link, new = PaymentLink.objects.across_tenants().get_or_create(
            session_id=made.id, defaults={**facts, "expires_at": made.expires_at}
        )
        if new:
            told = {"amount": amount, "currency": invoice.currency}
            audit.record("payment_link.make", actor=actor, tenant=invoice.tenant, target=invoice.name, now=now, session=made.id, **told)
    return link


def _become(event: ProviderEvent, state: str, detail: str) -> ProviderEvent:
    ProviderEvent.objects.filter(pk=event.pk, state=State.WAITING).update(state=state, detail=detail[:300])
    event.refresh_from_db()
    return event
