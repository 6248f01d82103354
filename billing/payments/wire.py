"""Stripe's library, and nothing else knows it: checkouts made, looked up and listed, refunds and disputes looked up, messages verified. Plain values come out,
every call has a timeout.

Raises: ProviderNotSetUp, ProviderRefused (it said no), ProviderAway (no answer, or nonsense).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe
from django.conf import settings
from django.utils.translation import gettext as _

from billing.errors import BadSignature, ProviderAway, ProviderNotSetUp, ProviderRefused
from billing.rating import money

TIMEOUT = 10  # seconds, each call
TOLERANCE = 300  # seconds that a message may be old
MONEY = "data.payment_intent.latest_charge"  # told in full with each page of a list
DIGITS = {  # where Stripe counts otherwise than ISO 4217 and CLDR do; all others have two
    **dict.fromkeys(["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"], 0),
    **dict.fromkeys(["BHD", "JOD", "KWD", "OMR", "TND"], 3),
}


@dataclass(frozen=True)
class Checkout:
    """One page where something is paid. `invoice` and `title`: what we wrote on it when we made it; `payment`: Stripe's id of the money, empty until there is
    some; `paid_at`: when it was; `doubted`: something of it was refunded or disputed."""

    id: str
    url: str
    invoice: str
    title: str
    payment: str
    paid: bool
    amount: int
    currency: str
    made_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    doubted: bool


@dataclass(frozen=True)
class Going:
    """A refund or a dispute of a payment (Stripe's id of the money). `gone`: whether so much of it is away now; `note`: Stripe's word for how it stands."""

    id: str
    payment: str
    amount: int
    currency: str
    gone: bool
    at: datetime
    note: str


@dataclass(frozen=True)
class Message:
    """What Stripe says happened. Only its ids are believed: the rest is looked up."""

    id: str
    kind: str
    object_id: str
    said_at: datetime


def make_checkout(*, invoice: str, title: str, amount: int, currency: str, email: str, back: str, key: str) -> Checkout:
    """`key`: asked again with the same one within a day, it is the same page. `back`: where payers go afterwards."""
    price = {"currency": currency.lower(), "unit_amount": theirs(amount, currency), "product_data": {"name": title}}
    about: dict[str, Any] = {"metadata": {"invoice": invoice}, "payment_intent_data": {"metadata": {"invoice": invoice}}}
    with _said():
        made = _client().v1.checkout.sessions.create(
            {
                "mode": "payment",
                "line_items": [{"price_data": price, "quantity": 1}],
                "customer_email": email,
                "client_reference_id": title[:200],
                "success_url": back,
                **about,
            },  # type: ignore[arg-type]
            {"idempotency_key": key},
        )
        return _checkout(made)


def look_up(checkout_id: str) -> Checkout:
    """As it is now."""
    with _said():
        return _checkout(_client().v1.checkout.sessions.retrieve(checkout_id, {"expand": ["payment_intent.latest_charge"]}))


def listed(since: datetime) -> Iterator[Checkout]:
    """All that were made since, newest first."""
    with _said():
        found = _client().v1.checkout.sessions.list({"created": {"gte": int(since.timestamp())}, "limit": 100, "expand": [MONEY]})
        for one in found.auto_paging_iter():
            yield _checkout(one)


def checkout_of(payment: str) -> Checkout | None:
    """The page where that money was paid."""
    with _said():
        found = _client().v1.checkout.sessions.list({"payment_intent": payment, "limit": 1, "expand": [MONEY]})
        return next((_checkout(one) for one in found.data), None)


def payment_of(kind: str, object_id: str) -> str:
    """Whose money the charge, refund or dispute of a message is; empty where it is of no payment that we know how to make."""
    with _said():
        api = _client().v1
        if kind.startswith("charge.dispute."):
            return _id(api.disputes.retrieve(object_id).payment_intent)
        if kind == "charge.refunded":
            return _id(api.charges.retrieve(object_id).payment_intent)
        return _id(api.refunds.retrieve(object_id).payment_intent)


def goings_of(payment: str) -> list[Going]:
    """All refunds and disputes of that money, oldest first."""
    with _said():
        api = _client().v1
        refunds = [_refund(one) for one in api.refunds.list({"payment_intent": payment, "limit": 100}).auto_paging_iter()]
        disputes = [_dispute(one) for one in api.disputes.list({"payment_intent": payment, "limit": 100}).auto_paging_iter()]
    return sorted([*refunds, *disputes], key=lambda each: (each.at, each.id))


def goings_since(refunds: datetime, disputes: datetime) -> Iterator[Going]:
    """All that were made since, newest first."""
    with _said():
        api = _client().v1
        for refund in api.refunds.list({"created": {"gte": int(refunds.timestamp())}, "limit": 100}).auto_paging_iter():
            yield _refund(refund)
        for dispute in api.disputes.list({"created": {"gte": int(disputes.timestamp())}, "limit": 100}).auto_paging_iter():
            yield _dispute(dispute)


def read_message(body: bytes, signature: str) -> Message:
    """A message, verified on the very bytes that came. Raises: BadSignature for a forged, late or unreadable one."""
    if not settings.STRIPE_WEBHOOK_SECRETS:
        raise ProviderNotSetUp(_("set ACS_STRIPE_WEBHOOK_SECRETS: what Stripe signs its messages with"))
    if not any(_verifies(body, signature, secret) for secret in settings.STRIPE_WEBHOOK_SECRETS):
        raise BadSignature(_("the message is not signed by Stripe, or too old"))
    try:
        told = json.loads(body)
        said_at = datetime.fromtimestamp(int(told["created"]), UTC)
        return Message(str(told["id"])[:200], str(told["type"])[:100], str(told["data"]["object"]["id"])[:200], said_at)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        raise BadSignature(_("the message cannot be read")) from None


def theirs(amount: int, currency: str) -> int:
    """Minor units as Stripe counts them. Raises: ProviderRefused where it knows no such amount."""
    shift = DIGITS.get(currency, 2) - money.digits(currency)
    if shift < 0 and amount % 10**-shift:
        raise ProviderRefused(_("Stripe takes no such amount"))
    return amount * 10**shift if shift >= 0 else amount // 10**-shift


def ours(amount: int, currency: str) -> int:
    """The other way round; a remainder that the currency does not have is left out."""
    shift = DIGITS.get(currency, 2) - money.digits(currency)
    return amount // 10**shift if shift >= 0 else amount * 10**-shift


def _verifies(body: bytes, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE)
    except (stripe.SignatureVerificationError, ValueError):
        return False
    return True


def _client() -> stripe.StripeClient:
    if not settings.STRIPE_KEY:
        raise ProviderNotSetUp(_("set ACS_STRIPE_KEY: the secret key of the account at Stripe"))
    http = stripe.RequestsClient(timeout=TIMEOUT)
    return stripe.StripeClient(settings.STRIPE_KEY, base_addresses={"api": settings.STRIPE_API}, http_client=http, max_network_retries=0)


@contextmanager
def _said() -> Iterator[None]:
    """Stripe's errors in our words."""
    try:
        yield
    except (stripe.APIConnectionError, stripe.APIError, stripe.RateLimitError) as error:
        raise ProviderAway(str(error.user_message or "Stripe does not answer")) from error
    except stripe.StripeError as error:
        raise ProviderRefused(str(error.user_message or error)) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProviderAway("Stripe's answer cannot be read") from error


def _checkout(one: Any) -> Checkout:
    currency = str(one.currency or "").upper()
    money, charge = one.payment_intent, None
    if money is not None and not isinstance(money, str):
        charge = money.latest_charge
    return Checkout(
        id=one.id,
        url=one.url or "",
        invoice=_noted(one.metadata),
        title=one.client_reference_id or "",
        payment=_id(money),
        paid=one.payment_status == "paid",
        amount=ours(int(one.amount_total or 0), currency),
        currency=currency,
        made_at=datetime.fromtimestamp(one.created, UTC),
        expires_at=datetime.fromtimestamp(one.expires_at, UTC),
        paid_at=datetime.fromtimestamp(charge.created, UTC) if charge else None,
        doubted=bool(charge and (charge.amount_refunded or charge.disputed)),
    )


def _refund(one: Any) -> Going:
    """Money is away from when the refund is on its way. A failed one is back, one that waits for the payer has not left."""
    return _going(one, gone=one.status in ("succeeded", "pending"), note=f"refund {one.status}")


def _dispute(one: Any) -> Going:
    """Money is away when it was withdrawn and not reinstated: inquiries withdraw nothing, whatever their status."""
    moved = [int(each.amount) for each in one.balance_transactions or ()]
    back = any(amount > 0 for amount in moved) and (one.status == "won" or sum(moved) >= 0)
    return _going(one, gone=any(amount < 0 for amount in moved) and not back, note=f"dispute {one.status}")


def _going(one: Any, *, gone: bool, note: str) -> Going:
    currency = str(one.currency or "").upper()
    at = datetime.fromtimestamp(one.created, UTC)
    return Going(one.id, _id(one.payment_intent), ours(int(one.amount), currency), currency, gone, at, note)


def _id(one: Any) -> str:
    """Of what Stripe tells by its id, or in full."""
    return one if isinstance(one, str) else str(one.id) if one is not None else ""


def _noted(metadata: Any) -> str:
    return str(metadata["invoice"]) if metadata is not None and "invoice" in metadata else ""
