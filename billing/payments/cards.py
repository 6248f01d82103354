"""Card payments by Stripe, of the same shape as bank transfer: pages where an invoice is paid, messages of what came and went, a nightly look at what was missed.

A message is only the reason to look: what it is about is asked for anew, so that forged, replayed, late and reordered ones come to the same rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from billing.errors import ProviderAway, ProviderNotSetUp
from billing.models import Invoice, Payment, PaymentLink, ProviderEvent
from billing.owed import open_amount
from billing.payments import ledger, returns, wire
from billing.payments.received import Asked, Received
from tenants import audit
from tenants.errors import TenantError, WrongState

log = structlog.get_logger(__name__)
ACTOR = returns.ACTOR
State = ProviderEvent.State
TELLING = ("checkout.session.completed", "checkout.session.async_payment_succeeded")  # money may have come
FAILED = "checkout.session.async_payment_failed"
LOOK_BACK = timedelta(days=3)


def ask(invoice: Invoice, *, now: datetime, actor: str) -> Asked:
    """A page for what is open now; while one for that amount is valid, it is that one. Raises: WrongState where nothing is open; ProviderNotSetUp,
    ProviderRefused, ProviderAway."""
    ledger.check(invoice, invoice.currency)
    amount = open_amount(invoice)
    if amount <= 0:
        raise WrongState(_("nothing of the invoice is open"))
    links = PaymentLink.objects.of(invoice.tenant_id).filter(
        invoice=invoice, amount=amount, ended_at=None, expires_at__gt=now + timedelta(minutes=30)
    )
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
    if event.kind not in (*TELLING, FAILED, *returns.KINDS):
        return _become(event, State.IGNORED, "")
    try:
        state, detail = _gone(event, now) if event.kind in returns.KINDS else _paid(event, now)
    except (ProviderAway, ProviderNotSetUp):
        raise
    except TenantError as error:
        log.warning("provider_event_kept", provider_event=event.pk, error=f"{type(error).__name__}: {error}")
        state, detail = State.KEPT, f"{type(error).__name__}: {error}"
    return _become(event, state, detail)


def again(event: ProviderEvent, *, now: datetime, actor: str) -> ProviderEvent:
    """One that was kept for people is looked up anew, now that they have seen to it. Raises: WrongState for any other; what `handle` does."""
    if ProviderEvent.objects.filter(pk=event.pk, state__in=[State.KEPT, State.WAITING]).update(state=State.WAITING) != 1:
        raise WrongState(_("only a message that was kept or waits is looked at again"))
    event.refresh_from_db()
    audit.record("provider_event.again", actor=actor, tenant=None, target=event.pk, now=now, before=event.detail)
    return handle(event, now=now)


def to_look_at() -> QuerySet[ProviderEvent, ProviderEvent]:
    """The messages that somebody has to look at."""
    return ProviderEvent.objects.filter(state__in=[State.KEPT, State.WAITING])


def take(checkout: wire.Checkout, *, now: datetime) -> Payment | None:
    """Enter what a page has brought, once, with what of it went back since. None: nothing yet, or it is of no invoice of ours. Raises: WrongState for another
    currency, and for what cannot be taken back; ProviderAway."""
    if not checkout.paid or not checkout.payment or not checkout.amount:
        return None
    number = checkout.invoice if checkout.invoice.isdecimal() and len(checkout.invoice) < 19 else "0"
    invoice = Invoice.objects.across_tenants().select_related("subscription", "tenant").filter(pk=int(number)).first()
    if invoice is None or invoice.name != checkout.title:  # somebody else's page at the same account may note an invoice too
        return None
    received = Received(Payment.Provider.STRIPE, checkout.payment, checkout.amount, checkout.currency, checkout.paid_at or now, checkout.id)
    payment = ledger.enter(invoice, received, now=now, actor=ACTOR)
    _end_link(checkout, now)
    returns.succeeded(payment, now=now)
    if checkout.doubted:
        returns.agree(payment, now=now)
    return payment


def reconcile(*, now: datetime, back: timedelta = LOOK_BACK) -> int:
    """What messages have not told: every page of the last days is looked at, every refund and dispute that may have changed, and messages that wait are handled.
    Returns how many lines of the ledger were new."""
    if not settings.STRIPE_KEY:
        return 0
    mine = Payment.objects.across_tenants().filter(provider=Payment.Provider.STRIPE)
    before = mine.count()
    for checkout in wire.listed(now - back):
        try:
            take(checkout, now=now)
        except ProviderAway:
            raise
        except TenantError as error:
            log.warning("checkout_not_taken", checkout=checkout.id, error=str(error))
    returns.sweep(now=now)
    for event in ProviderEvent.objects.filter(state=State.WAITING).order_by("said_at"):
        handle(event, now=now)
    return mine.count() - before


def _paid(event: ProviderEvent, now: datetime) -> tuple[str, str]:
    """What became of a message about a page: its state, and why."""
    checkout = wire.look_up(event.object_id)
    if checkout.paid:
        payment = take(checkout, now=now)
        return (State.DONE, str(payment)) if payment else (State.KEPT, "of no invoice of ours")
    if event.kind != FAILED:
        return State.DONE, "not paid yet"
    _end_link(checkout, now)
    payment = returns.known(checkout.payment)
    gone = returns.failed(payment, now=now) if payment else None
    return State.DONE, f"the payment failed: {gone}" if gone else "the payment failed"


def _gone(event: ProviderEvent, now: datetime) -> tuple[str, str]:
    """What became of a message about a refund or a dispute: its state, and why. Of money that no message has told of yet, that is entered first."""
    reference = wire.payment_of(event.kind, event.object_id)
    payment = returns.known(reference)
    if payment is None and reference:
        checkout = wire.checkout_of(reference)
        payment = take(checkout, now=now) if checkout else None
    if payment is None:
        return State.KEPT, "of no payment of ours"
    new = returns.agree(payment, now=now)
    return State.DONE, ", ".join(map(str, new)) or "known"


def _end_link(checkout: wire.Checkout, now: datetime) -> None:
    """Nobody can pay there any more: whoever asks for the invoice's page gets another one."""
    PaymentLink.objects.across_tenants().filter(session_id=checkout.id, ended_at=None).update(ended_at=now)


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
