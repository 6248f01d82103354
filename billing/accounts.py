"""Billing accounts: to whom invoices go and how they are taxed; the table of tax rates that operators keep."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from billing.catalogue import check, check_currency
from billing.errors import NoBillingAccount, NoTaxRate
from billing.models import BillingAccount, KeptPhase, SubscriptionPhase, TaxRate
from billing.rating import tax
from tenants import audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Tenant

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # turns what follows around, or breaks lines and mails
FIELDS = ("name", "address", "country", "email", "currency", "tax_id", "tax_treatment", "language", "notices")


@transaction.atomic
def put(tenant: Tenant, *, now: datetime, actor: str, **wish: Any) -> BillingAccount:
    """Make the tenant's account, or set the fields that `wish` names (of FIELDS). The tax id is kept as it is written on invoices.

    Raises: MalformedRequest naming each field that is wrong; NoTaxRate; WrongState for another currency while a subscription is in force.
    """
    BillingAccount.objects.of(tenant).select_for_update(of=("self",)).first()  # before the tenant's row, as invoices and dunning take them
    Tenant.objects.select_for_update(of=("self",)).get(pk=tenant.pk)
    account = BillingAccount.objects.of(tenant).first() or BillingAccount(tenant=tenant)
    before = account.currency
    for name, value in wish.items():
        setattr(account, name, value)
    _check(account)
    if before not in ("", account.currency) and _in_force(tenant, now):
        raise WrongState(_("the currency stays while a subscription is in force"))
    account.save()
    told = {name: wish[name] for name in ("country", "currency", "tax_id", "tax_treatment", "notices") if name in wish}
    audit.record("billing_account.put", actor=actor, tenant=tenant, target=tenant.account, now=now, **told)
    return account


def account_of(tenant: Tenant) -> BillingAccount:
    """Raises: NoBillingAccount."""
    account = BillingAccount.objects.of(tenant).first()
    if account is None:
        raise NoBillingAccount(_("the tenant has no billing account: say first to whom its invoices go"))
    return account


def treatment_of(account: BillingAccount) -> tax.Treatment:
    """How the account is taxed, as rating reads it. Raises: NoTaxRate."""
    if account.tax_treatment != BillingAccount.Treatment.STANDARD:
        return tax.Treatment(tax.Kind(account.tax_treatment))
    rates = tuple(TaxRate.objects.filter(country=account.country).order_by("valid_from").values_list("valid_from", "percent"))
    if not rates:
        raise NoTaxRate(_("no tax rate is known for %(country)s") % {"country": account.country})
    return tax.Treatment(tax.Kind.STANDARD, rates)


@transaction.atomic
def put_rate(country: str, valid_from: date, percent: Decimal, *, now: datetime, actor: str) -> TaxRate:
    """The standard rate of a country from a day on. What was invoiced stays as it is. Raises: MalformedRequest."""
    rate = TaxRate.objects.filter(country=country, valid_from=valid_from).first() or TaxRate(country=country, valid_from=valid_from)
    rate.percent = percent
    _check_country(country)
    check(rate)
    rate.save()
    audit.record("tax_rate.put", actor=actor, tenant=None, target=country, now=now, valid_from=valid_from.isoformat(), percent=str(percent))
    return rate


def _check(account: BillingAccount) -> None:
    account.name, account.address = account.name.strip(), "\n".join(account.address.splitlines())
    for name, text in {"name": account.name, "address": account.address.replace("\n", "")}.items():
        if UNSEEN.search(text):
            raise MalformedRequest({name: _("it has signs in it that nobody sees")})
    _check_country(account.country)
    check_currency(account.currency)
    if account.tax_id:
        try:
            account.tax_id = tax.check_id(account.country, account.tax_id)
        except tax.BadTaxId:
            raise MalformedRequest({"tax_id": _("no tax id of %(country)s") % {"country": account.country}}) from None
    if account.tax_treatment == BillingAccount.Treatment.REVERSE_CHARGE and not account.tax_id:
        raise MalformedRequest({"tax_id": _("reverse charge needs the customer's tax id")})
    check(account)
    treatment_of(account)


def _check_country(country: str) -> None:
    if not tax.is_country(country):
        raise MalformedRequest({"country": _("no country: two letters, such as DE")})


def _in_force(tenant: Tenant, now: datetime) -> bool:
    """Also that of a closed tenant, which it would have again."""
    if KeptPhase.objects.filter(subscription__tenant=tenant).exists():
        return True
    return SubscriptionPhase.objects.filter(subscription__tenant=tenant, during__endswith__isnull=True).exists() or (
        SubscriptionPhase.objects.filter(subscription__tenant=tenant, during__endswith__gt=now).exists()
    )
