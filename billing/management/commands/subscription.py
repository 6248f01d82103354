"""`manage.py subscription account|start|change|cancel|undo|end|override|redeem|credit|show`: who has agreed to what, and to whom invoices go."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing import accounts, concessions, subscriptions
from billing.management.words import moment, price, version_of
from billing.models import BillingAccount, Override, Subscription, SubscriptionPhase
from billing.phases import entitlement_of
from billing.rating import money
from tenants.management.verbs import VerbCommand, day, tenant_of


class Command(VerbCommand):
    help = "Starts, changes and ends subscriptions; keeps billing accounts, overrides, coupons and credit."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        self._add_account(verbs)
        for verb, meaning in {
            "start": "be on a version from now on, in the account's currency",
            "change": "another version: at once if it costs more, else when what is paid for ends",
        }.items():
            put = verbs.add_parser(verb, help=meaning)
            put.add_argument("account")
            put.add_argument("version", metavar="PLAN/NUMBER")
            if verb == "start":
                put.add_argument("--without-trial", action="store_true")
            else:
                put.add_argument("--when", choices=["now", "period_end"], help="decide otherwise")
        for verb, meaning in {
            "cancel": "end when what is paid for ends; no new keys then",
            "undo": "what was scheduled does not come",
            "end": "at once; what was paid and does not come is credited",
            "show": "phases, overrides, coupons, balance",
        }.items():
            verbs.add_parser(verb, help=meaning).add_argument("account")
        self._add_concessions(verbs)

    def _add_account(self, verbs: Any) -> None:
        account = verbs.add_parser("account", help="to whom invoices go; only what is named is changed")
        account.add_argument("account")
        account.add_argument("--name")
        account.add_argument("--address")
        account.add_argument("--country", help="two letters, such as DE")
        account.add_argument("--email")
        account.add_argument("--currency", help="three letters, such as EUR")
        account.add_argument("--tax-id")
        account.add_argument("--tax", choices=BillingAccount.Treatment.values, dest="tax_treatment")
        account.add_argument("--language", choices=BillingAccount.Language.values)
        account.add_argument("--notices", action=BooleanOptionalAction, help="whether it is told of things by e-mail")

    def _add_concessions(self, verbs: Any) -> None:
        override = verbs.add_parser("override", help="something else than the version says, for a while")
        override.add_argument("account")
        override.add_argument("--component", default="", help="the key of a price component; without it: of the entitlement")
        override.add_argument("--unit-price", type=price)
        override.add_argument("--included", type=int)
        override.add_argument("--max-devices", type=int)
        override.add_argument("--max-members", type=int)
        override.add_argument("--until", type=moment, help="for good if left out")
        override.add_argument("--reason", default="", help="kept in the audit")
        verbs.add_parser("end_override", help="over now").add_argument("override_id", type=int)
        redeem = verbs.add_parser("redeem", help="a coupon, from the first of this month on")
        redeem.add_argument("account")
        redeem.add_argument("code")
        credit = verbs.add_parser("credit", help="give something on the balance, or take it back (below nothing)")
        credit.add_argument("account")
        credit.add_argument("amount", type=price, help="in major units of the account's currency")
        credit.add_argument("--reason", required=True)
        credit.add_argument("--reference", default="", help="the same reference is entered once")

    def do_account(self, *, account: str, **options: Any) -> None:
        wish = {name: options[name] for name in accounts.FIELDS if options[name] is not None}
        made = accounts.put(tenant_of(account), **wish, **self.acted)
        self.stdout.write(f"{account}: {made.name}, {made.country}, {made.currency}, tax {made.tax_treatment} {made.tax_id}".rstrip())

    def do_start(self, *, account: str, version: str, without_trial: bool, **_: Any) -> None:
        subscriptions.start(tenant_of(account), version_of(version), trial=not without_trial, **self.acted)
        self.do_show(account=account)

    def do_change(self, *, account: str, version: str, when: Any, **_: Any) -> None:
        change = subscriptions.change_plan(tenant_of(account), version_of(version), when=when, **self.acted)
        self.stdout.write(f"{account} is on {version} from {day(change.at)} on")

    def do_cancel(self, *, account: str, **_: Any) -> None:
        self.stdout.write(f"{account} ends {day(subscriptions.cancel(tenant_of(account), **self.acted).at)}")

    def do_undo(self, *, account: str, **_: Any) -> None:
        subscriptions.undo(tenant_of(account), **self.acted)
        self.do_show(account=account)

    def do_end(self, *, account: str, **_: Any) -> None:
        self.stdout.write(f"{account} ended {day(subscriptions.end(tenant_of(account), **self.acted).at)}")

    def do_override(self, *, account: str, component: str, until: datetime | None, reason: str, **options: Any) -> None:
        wish = {name: options[name] for name in concessions.PROMISES}
        made = concessions.override(tenant_of(account), component=component, until=until, reason=reason, **wish, **self.acted)
        self.stdout.write(_override(made))

    def do_end_override(self, *, override_id: int, **_: Any) -> None:
        held = Override.objects.select_related("subscription__tenant").filter(pk=override_id).first()
        if held is None:
            raise CommandError(f"There is no override {override_id}: `manage.py subscription show` shows them.")
        concessions.end_override(held, **self.acted)
        self.stdout.write(f"{override_id} is over")

    def do_redeem(self, *, account: str, code: str, **_: Any) -> None:
        made = concessions.redeem(tenant_of(account), code, **self.acted)
        self.stdout.write(f"{account} has {code} from {day(made.during.lower)} to {day(made.during.upper, otherwise='good')}")

    def do_credit(self, *, account: str, amount: Decimal, reason: str, reference: str, **_: Any) -> None:
        tenant = tenant_of(account)
        currency = accounts.account_of(tenant).currency
        concessions.credit(tenant, concessions.in_minor(amount, currency), reason=reason, reference=reference, **self.acted)
        self.stdout.write(f"{account} has {money.in_major(concessions.balance_of(tenant, currency), currency)} {currency}")

    def do_show(self, *, account: str, **_: Any) -> None:
        tenant, now = tenant_of(account), timezone.now()
        for phase in SubscriptionPhase.objects.filter(subscription__tenant=tenant).select_related("version"):
            until = day(phase.during.upper, otherwise="further notice")
            trial = f", trial until {day(phase.trial_until)}" if phase.trial_until else ""
            name = f"{phase.version.plan_id}/{phase.version.number}"
            self.stdout.write(f"{name}  {phase.currency}  {day(phase.during.lower)} until {until}{trial}")
        if entitled := entitlement_of(tenant, at=now):
            self.stdout.write(f"entitled to {entitled.max_devices} devices, {entitled.enforcement}, warned at {entitled.warn_at} %")
        if subscription := Subscription.objects.of(tenant).first():
            for override in subscription.overrides.all():
                self.stdout.write(_override(override))
            for held in subscription.redemptions.all():
                self.stdout.write(f"coupon {held.coupon_id} until {day(held.during.upper, otherwise='further notice')}")
        if billed := BillingAccount.objects.of(tenant).first():
            self.stdout.write(
                f"balance {money.in_major(concessions.balance_of(tenant, billed.currency), billed.currency)} {billed.currency}"
            )


def _override(held: Override) -> str:
    told = {name: getattr(held, name) for name in concessions.PROMISES}
    words = ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)
    return f"override {held.pk}  {held.component or 'entitlement'}: {words}  until {day(held.during.upper, otherwise='further notice')}"
