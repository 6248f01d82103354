"""What a tenant gets besides its version: overrides that expire, coupons, credit on its balance."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import F, Q, Sum
from django.utils.translation import gettext as _

from billing import accounts
from billing.catalogue import check, check_currency
from billing.errors import CouponRefused, NoSubscription
from billing.models import BillingAccount, Coupon, CreditEntry, Override, PriceComponent, Redemption, Subscription
from billing.rating import money
from billing.rating.cycles import month_of, months_after
from billing.rating.terms import USAGE
from billing.settling import follow
from tenants import audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Tenant

PROMISES = ("unit_price", "included", "max_devices", "max_members")
OURS = re.compile(r"(invoice|void|payment|entry):[0-9]")  # begins the references of what billing itself moves on a balance


@transaction.atomic
def override(
    tenant: Tenant, *, now: datetime, actor: str, until: datetime | None, component: str = "", reason: str = "", **wish: Any
) -> Override:
    """From now until then (None: for good) the tenant gets what `wish` says (of PROMISES): unit_price in major units and included quantity of a
    `component`, max_devices and max_members without one. Raises: NoSubscription; MalformedRequest."""
    subscription = _locked(tenant)
    told = {name: value for name, value in wish.items() if value is not None}
    if until is not None and until <= now:
        raise MalformedRequest({"until": _("that is over")})
    if not told or any((name in ("unit_price", "included")) != bool(component) for name in told):
        raise MalformedRequest({"component": _("a component has unit_price or included, the entitlement max_devices or max_members")})
    if component:
        _check_component(subscription, component, told)
    promise = Override(subscription=subscription, during=DateTimeTZRange(now, until), component=component, reason=reason, **told)
    check(promise)
    promise.save()
    words = {name: str(value) for name, value in told.items()}
    audit.record(
        "subscription.override", actor=actor, tenant=tenant, target=tenant.account, now=now, component=component, reason=reason, **words
    )
    follow(subscription, now=now, actor=actor)
    return promise


@transaction.atomic
def end_override(promise: Override, *, now: datetime, actor: str) -> None:
    """Over now; what it was until then stays rated so. Raises: WrongState when it is over."""
    tenant = promise.subscription.tenant
    subscription = _locked(tenant)
    held = Override.objects.get(pk=promise.pk)
    if held.during.upper is not None and held.during.upper <= now:
        raise WrongState(_("the override is over"))
    if held.during.lower >= now:
        held.delete()
    else:
        held.during = DateTimeTZRange(held.during.lower, now)
        held.save(update_fields=["during"])
    audit.record("subscription.end_override", actor=actor, tenant=tenant, target=tenant.account, now=now, component=held.component)
    follow(subscription, now=now, actor=actor)


@transaction.atomic
def make_coupon(code: str, *, now: datetime, actor: str, **wish: Any) -> Coupon:
    """`wish`: percent, or amount in minor units with its currency; months, redeem_by, max_redemptions. Raises: MalformedRequest."""
    told = {name: value for name, value in wish.items() if value not in (None, "")}
    coupon = Coupon(code=code, created_at=now, **told)
    if ("percent" in told) == ("amount" in told) or ("amount" in told) != ("currency" in told):
        raise MalformedRequest({"percent": _("a percentage, or an amount with its currency")})
    if coupon.currency:
        check_currency(coupon.currency)
    check(coupon)
    coupon.save(force_insert=True)
    words = {name: str(value) for name, value in told.items()}
    audit.record("coupon.make", actor=actor, tenant=None, target=code, now=now, **words)
    return coupon


@transaction.atomic
def redeem(tenant: Tenant, code: str, *, now: datetime, actor: str) -> Redemption:
    """The coupon counts from the first of this month, over whole months. Raises: NoSubscription, NoBillingAccount, CouponRefused."""
    subscription = _locked(tenant)
    currency = accounts.account_of(tenant).currency
    coupon = Coupon.objects.filter(pk=code).first()
    if coupon is None or (coupon.redeem_by and coupon.redeem_by <= now):
        raise CouponRefused(_("there is no such coupon, or it is too late for it"))
    if coupon.currency not in ("", currency):
        raise CouponRefused(_("the coupon is in %(currency)s") % {"currency": coupon.currency})
    if subscription.redemptions.filter(coupon=coupon).exists():
        raise CouponRefused(_("the tenant has redeemed it already"))
    room = Q(max_redemptions=None) | Q(redeemed__lt=F("max_redemptions"))
    if Coupon.objects.filter(room, pk=code).update(redeemed=F("redeemed") + 1) != 1:
        raise CouponRefused(_("the coupon has been redeemed as often as it may be"))
    first = month_of(now).start
    during = DateTimeTZRange(first, months_after(first, coupon.months) if coupon.months else None)
    redemption = Redemption.objects.create(subscription=subscription, coupon=coupon, during=during)
    audit.record("coupon.redeem", actor=actor, tenant=tenant, target=code, now=now)
    return redemption


@transaction.atomic
def credit(tenant: Tenant, amount: int, *, reason: str, now: datetime, actor: str, reference: str = "") -> CreditEntry:
    """Give (or, below nothing, take back) minor units of the account's currency on the tenant's balance. A `reference` is entered once: the same again
    is a no-op. Raises: NoBillingAccount; MalformedRequest, also for a reference that looks like one of ours; WrongState when the balance would be below nothing."""
    if OURS.match(reference):
        raise MalformedRequest({"reference": _("what begins so is entered by billing itself")})
    account = _locked_account(tenant)
    if reference and (entered := CreditEntry.objects.of(tenant).filter(reference=reference).first()):
        return entered
    if amount == 0:
        raise MalformedRequest({"amount": _("nothing would change")})
    if balance_of(tenant, account.currency) + amount < 0:
        raise WrongState(_("the balance would be below nothing"))
    entry = CreditEntry(tenant=tenant, currency=account.currency, amount=amount, at=now, reason=reason, actor=actor, reference=reference)
    check(entry)
    entry.save()
    audit.record(
        "credit.enter", actor=actor, tenant=tenant, target=tenant.account, now=now, amount=amount, currency=account.currency, reason=reason
    )
    return entry


def balance_of(tenant: Tenant, currency: str) -> int:
    """What the tenant has in credit, in minor units of a currency."""
    return CreditEntry.objects.of(tenant).filter(currency=currency).aggregate(sum=Sum("amount"))["sum"] or 0


def in_minor(amount: Decimal, currency: str) -> int:
    """An amount in major units, as people write it, in minor ones. Raises: MalformedRequest."""
    check_currency(currency)
    minor = money.in_minor(amount, currency)
    if minor.denominator != 1:
        raise MalformedRequest({"amount": _("%(currency)s has no such amount") % {"currency": currency}})
    return int(minor)


def _check_component(subscription: Subscription, component: str, told: dict[str, Any]) -> None:
    """Raises: MalformedRequest."""
    kinds = set(PriceComponent.objects.filter(key=component, version__phases__subscription=subscription).values_list("kind", flat=True))
    if not kinds:
        raise MalformedRequest({"component": _("no version of the tenant has it")})
    if "included" in told and not kinds & set(USAGE):
        raise MalformedRequest({"included": _("only usage has an included quantity")})


def _locked_account(tenant: Tenant) -> BillingAccount:
    """The row that orders a tenant's ledger, ours until commit. Raises: NoBillingAccount."""
    accounts.account_of(tenant)
    return BillingAccount.objects.of(tenant).select_for_update(of=("self",)).get()


def _locked(tenant: Tenant) -> Subscription:
    """Raises: NoSubscription."""
    subscription = Subscription.objects.of(tenant).select_for_update(of=("self",)).first()
    if subscription is None:
        raise NoSubscription(_("the tenant has no subscription"))
    return subscription
