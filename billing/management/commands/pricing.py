"""`manage.py pricing draft|price|unprice|publish|discard|list|show|tax|taxes|coupon|coupons`: what is sold, at which price, with which tax."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django.core.management.base import CommandError, CommandParser

from billing import accounts, catalogue, concessions
from billing.management.words import day, moment, price, tier, version_of
from billing.models import Coupon, PlanVersion, PriceComponent, TaxRate
from billing.rating import money
from tenants.management.verbs import VerbCommand
from tenants.management.verbs import day as shown
from tenants.models import Plan

LIMITS = ("interval", "trial_days", "tax_behaviour", "max_devices", "max_members", "enforcement", "warn_at")


class Command(VerbCommand):
    help = "Makes versions of plans, their prices, tax rates and coupons, and shows them."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        self._add_versions(verbs)
        put = verbs.add_parser("price", help="a component of a draft's price, or another one in its place")
        put.add_argument("version", metavar="PLAN/NUMBER")
        put.add_argument("key", help="the same in every currency, such as base or devices")
        put.add_argument("kind", choices=PriceComponent.Kind.values)
        put.add_argument(
            "unit_price", nargs="?", type=price, default=Decimal(0), help="in major units: 29.00; a yearly version's fee is a year's"
        )
        put.add_argument("--currency", required=True)
        put.add_argument("--charged", choices=PriceComponent.Charged.values, help="fees: advance if left out; usage: always arrears")
        put.add_argument("--included", type=int, default=0, metavar="UNITS", help="devices or hours a month")
        put.add_argument("--tier", action="append", type=tier, default=[], dest="tiers", metavar="UP_TO:PRICE", help="the last one :PRICE")
        out = verbs.add_parser("unprice", help="take a component out of a draft")
        out.add_argument("version", metavar="PLAN/NUMBER")
        out.add_argument("key")
        out.add_argument("--currency", required=True)
        self._add_tables(verbs)

    def _add_versions(self, verbs: Any) -> None:
        draft = verbs.add_parser("draft", help="the next version of a plan, to be priced and published")
        draft.add_argument("plan")
        draft.add_argument("--valid-from", type=moment, required=True, metavar="TIME", help="when it is sold from, in UTC")
        draft.add_argument("--interval", choices=PlanVersion.Interval.values, help="how often fees in advance fall due; month if left out")
        draft.add_argument("--trial-days", type=int)
        draft.add_argument("--tax", choices=PlanVersion.TaxBehaviour.values, dest="tax_behaviour", help="exclusive if left out")
        draft.add_argument("--max-devices", type=int, help="the plan's if left out")
        draft.add_argument("--max-members", type=int)
        draft.add_argument(
            "--enforcement", choices=PlanVersion.Enforcement.values, help="whether the limit refuses devices; hard if left out"
        )
        draft.add_argument("--warn-at", type=int, metavar="PERCENT")
        for verb, meaning in {"publish": "sell it; it never changes again", "discard": "forget a draft", "show": "its prices"}.items():
            verbs.add_parser(verb, help=meaning).add_argument("version", metavar="PLAN/NUMBER")
        verbs.add_parser("list", help="every version, a line each")

    def _add_tables(self, verbs: Any) -> None:
        rate = verbs.add_parser("tax", help="the standard rate of a country from a day on")
        rate.add_argument("country", help="two letters")
        rate.add_argument("percent", type=price)
        rate.add_argument("--valid-from", type=day, required=True, metavar="DAY")
        verbs.add_parser("taxes", help="the table of tax rates")
        coupon = verbs.add_parser("coupon", help="a discount to redeem: a percentage, or an amount off each month")
        coupon.add_argument("code")
        coupon.add_argument("--percent", type=price)
        coupon.add_argument("--amount", type=price, help="in major units")
        coupon.add_argument("--currency", default="")
        coupon.add_argument("--months", type=int, help="how long it counts; for good if left out")
        coupon.add_argument("--redeem-by", type=moment)
        coupon.add_argument("--max-redemptions", type=int)
        verbs.add_parser("coupons", help="every coupon, a line each")

    def do_draft(self, *, plan: str, valid_from: Any, **options: Any) -> None:
        found = Plan.objects.filter(pk=plan).first()
        if found is None:
            raise CommandError(f"There is no plan {plan!r}: `manage.py plan list` shows them.")
        version = catalogue.draft(found, valid_from=valid_from, **{name: options[name] for name in LIMITS}, **self.acted)
        self._tell(version)

    def do_price(self, *, version: str, key: str, kind: str, charged: str | None, **options: Any) -> None:
        usual = "arrears" if kind in (PriceComponent.Kind.ACTIVE_DEVICE, PriceComponent.Kind.DEVICE_HOURS) else "advance"
        wish = {name: options[name] for name in ("currency", "unit_price", "included", "tiers")}
        component = catalogue.price(version_of(version), key=key, kind=kind, charged=charged or usual, **wish, **self.acted)
        self.stdout.write(_words(component))

    def do_unprice(self, *, version: str, key: str, currency: str, **_: Any) -> None:
        catalogue.unprice(version_of(version), key=key, currency=currency, **self.acted)
        self.stdout.write(f"{version}: {key} {currency} is out")

    def do_publish(self, *, version: str, **_: Any) -> None:
        self._tell(catalogue.publish(version_of(version), **self.acted))

    def do_discard(self, *, version: str, **_: Any) -> None:
        catalogue.discard(version_of(version), **self.acted)
        self.stdout.write(f"{version} is gone")

    def do_show(self, *, version: str, **_: Any) -> None:
        found = version_of(version)
        self._tell(found)
        for component in found.components.all():
            self.stdout.write(f"  {_words(component)}")

    def do_list(self, **_: Any) -> None:
        for version in PlanVersion.objects.order_by("plan", "number"):
            self._tell(version)

    def _tell(self, version: PlanVersion) -> None:
        state = f"sold from {shown(version.valid_from)}" if version.published_at else "draft"
        trial = f"  {version.trial_days} days of trial" if version.trial_days else ""
        name = f"{version.plan_id}/{version.number}"
        self.stdout.write(f"{name}  {state}  {version.interval}  {version.max_devices} devices  tax {version.tax_behaviour}{trial}")

    def do_tax(self, *, country: str, percent: Decimal, valid_from: date, **_: Any) -> None:
        self.stdout.write(str(accounts.put_rate(country, valid_from, percent, **self.acted)))

    def do_taxes(self, **_: Any) -> None:
        for rate in TaxRate.objects.all():
            self.stdout.write(f"{rate.country}  {rate.percent} %  from {rate.valid_from}")

    def do_coupon(self, *, code: str, amount: Decimal | None, currency: str, **options: Any) -> None:
        wish = {name: options[name] for name in ("percent", "months", "redeem_by", "max_redemptions")}
        minor = None if amount is None else concessions.in_minor(amount, currency)
        self._tell_coupon(concessions.make_coupon(code, amount=minor, currency=currency, **wish, **self.acted))

    def do_coupons(self, **_: Any) -> None:
        for coupon in Coupon.objects.all():
            self._tell_coupon(coupon)

    def _tell_coupon(self, coupon: Coupon) -> None:
        off = f"{money.in_major(coupon.amount, coupon.currency)} {coupon.currency}" if coupon.amount else f"{coupon.percent} %"
        months = f"{coupon.months} months" if coupon.months else "for good"
        self.stdout.write(f"{coupon.code}  {off}  {months}  redeemed {coupon.redeemed} of {coupon.max_redemptions or 'any number'}")


def _words(component: PriceComponent) -> str:
    tiers = ", ".join(
        f"up to {step['up_to']}: {step['unit_price']}" if step["up_to"] else f"then {step['unit_price']}" for step in component.tiers
    )
    included = f"  {component.included} included" if component.included else ""
    cost = tiers or f"{component.unit_price.normalize():f}"
    return f"{component.key}  {component.kind}  {component.charged}  {cost} {component.currency}{included}"
