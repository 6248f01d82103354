"""Money that went back at Stripe: refunds and disputes, entered as counter-entries of the payments that they are of, and entered back where they failed or were won.

Whatever the message said, all refunds and disputes of the payment are looked up, so that the rows are the same whatever came first, twice or late.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from billing.models import Payment
from billing.payments import ledger, wire
from tenants.errors import TenantError, WrongState

log = structlog.get_logger(__name__)
ACTOR = "system:stripe"
KINDS = (
    *("charge.refunded", "charge.refund.updated", "refund.created", "refund.updated", "refund.failed"),
    *("charge.dispute.created", "charge.dispute.updated", "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated"),
    "charge.dispute.closed",
)  # money may have gone or come back
REFUNDS_FAIL = timedelta(days=35)  # a refund fails up to a month after it was made
DISPUTES_END = timedelta(days=180)


def known(reference: str) -> Payment | None:
    """The payment that was entered for Stripe's money."""
    rows = Payment.objects.across_tenants().select_related("invoice__subscription", "tenant")
    return rows.filter(provider=Payment.Provider.STRIPE, provider_reference=reference, undoes=None).first()


def agree(payment: Payment, *, now: datetime) -> list[Payment]:
    """The ledger says of a payment's refunds and disputes what Stripe says. Returns what was new. Raises: WrongState for what cannot be entered, after everything
    else was."""
    return _agree(((payment, going) for going in wire.goings_of(payment.provider_reference)), now=now)


def sweep(*, now: datetime) -> list[Payment]:
    """Every refund and dispute that may have changed without a message. Those of money that is not ours are left alone."""
    found = ((known(going.payment), going) for going in wire.goings_since(now - REFUNDS_FAIL, now - DISPUTES_END))
    try:
        return _agree(((payment, going) for payment, going in found if payment is not None), now=now)
    except WrongState:
        return []  # each was logged, and is tried again by the next night


def failed(payment: Payment, *, now: datetime) -> Payment | None:
    """A payment that had come by Stripe's word and failed after all: all of it is gone."""
    left = ledger.left_of(payment).amount
    reference = f"failed:{payment.provider_reference}"
    return ledger.take_back(payment, left, reference, now=now, at=now, actor=ACTOR, note="the payment failed") if left else None


def succeeded(payment: Payment, *, now: datetime) -> None:
    """Stripe says that it has come: where it had failed before, it is back."""
    if (counter := _counter(f"failed:{payment.provider_reference}")) is not None:
        ledger.bring_back(counter, now=now, actor=ACTOR, reason="the payment came after all")


def _agree(found: Iterable[tuple[Payment, wire.Going]], *, now: datetime) -> list[Payment]:
    new, refusal = [], None
    for payment, going in found:
        try:
            if (line := _enter(payment, going, now=now)) is not None:
                new.append(line)
        except TenantError as error:
            log.warning("not_taken_back", payment=payment.pk, going=going.id, error=str(error))
            refusal = refusal or WrongState(f"{going.id}: {error}")
    if refusal is not None:
        raise refusal
    return new


def _enter(payment: Payment, going: wire.Going, *, now: datetime) -> Payment | None:
    """None: the ledger says so already. What people have undone or brought back stays so. Raises: WrongState."""
    counter = _counter(going.id)
    if not going.gone:
        if counter is None or counter.counters.exists():
            return None
        return ledger.bring_back(counter, now=now, at=now, actor=ACTOR, reason=going.note)
    if counter is not None or not ledger.left_of(payment).amount:
        return None
    if going.currency != payment.currency:
        raise WrongState(f"it is in {going.currency}")
    return ledger.take_back(payment, going.amount, going.id, now=now, at=going.at, actor=ACTOR, note=going.note)


def _counter(reference: str) -> Payment | None:
    rows = Payment.objects.across_tenants().select_related("invoice__subscription", "tenant")
    return rows.filter(provider=Payment.Provider.STRIPE, provider_reference=reference, amount__lt=0).first()
