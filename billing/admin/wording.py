"""Terms, prices and taxes as operators read them, in their language."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing.models import PriceComponent as Row
from billing.rating import frozen, money
from billing.rating.terms import Coupon, Phase, PriceComponent, Tier


def price(component: PriceComponent, currency: str) -> str:
    """One component: what it counts, when it falls due, what is included and what each unit costs."""
    steps = [_step(tier, currency) for tier in component.tiers] or [_money(component.unit_price, currency)]
    included = [_("%(count)d included") % {"count": component.included}] if component.included else []
    facts = {"key": component.key, "kind": Row.Kind(component.kind.value).label, "charged": Row.Charged(component.charged.value).label}
    return _("%(key)s (%(kind)s, %(charged)s): %(prices)s %(currency)s") % {
        **facts,
        "prices": "; ".join([*included, *steps]),
        "currency": currency,
    }


def terms(documents: Iterable[dict[str, Any]]) -> SafeString:
    """The phases that an invoice was rated by."""
    return format_html_join("", "{}", ((_phase(each),) for each in frozen.thaw(documents))) or SafeString("-")


def taxed(document: dict[str, Any]) -> str:
    """How the customer was taxed, with the rates that were known."""
    if not document:
        return "-"
    treatment = frozen.thaw_treatment(document)
    kinds = {"standard": _("the rate of the country"), "reverse_charge": _("reverse charge"), "exempt": _("exempt")}
    rates = (_("%(percent)s %% from %(day)s") % {"percent": _number(percent), "day": day} for day, percent in treatment.rates)
    return ": ".join(filter(None, [kinds[treatment.kind.value], ", ".join(rates)]))


def party(document: dict[str, Any]) -> SafeString:
    """Seller or buyer, a line each; what is not known is left out."""
    names = ("name", "address", "country", "tax_id", "email", "bank", "account")
    lines = [line for name in names for line in str(document.get(name) or "").splitlines()]
    return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) or SafeString("-")


def _phase(phase: Phase) -> SafeString:
    end = f"{phase.end:%Y-%m-%d %H:%M}" if phase.end else _("further notice")
    trial = _(", trial") if phase.trial else ""
    head = f"{phase.terms.plan} {phase.terms.version}: {phase.start:%Y-%m-%d %H:%M} – {end}{trial}"
    told = [price(each, phase.terms.currency) for each in phase.components]
    told += [_coupon(each, phase.terms.currency) for each in phase.coupons]
    return format_html("<p>{}</p>{}", head, format_html_join("", "<div>{}</div>", ((each,) for each in told)))


def _coupon(coupon: Coupon, currency: str) -> str:
    off = f"{_number(coupon.percent)} %" if coupon.percent is not None else f"{money.in_major(coupon.amount or 0, currency)} {currency}"
    return _("coupon %(code)s: %(off)s off") % {"code": coupon.code, "off": off}


def _step(tier: Tier, currency: str) -> str:
    words = _("up to %(count)d: %(price)s") if tier.up_to is not None else _("more: %(price)s")
    return words % {"count": tier.up_to, "price": _money(tier.unit_price, currency)}


def _money(price: Decimal, currency: str) -> str:
    """With as many places as it needs, and the currency's at least."""
    places = max(money.digits(currency), -int(price.normalize().as_tuple().exponent))
    return f"{price:.{places}f}"


def _number(number: Decimal) -> str:
    return f"{number.normalize():f}"
