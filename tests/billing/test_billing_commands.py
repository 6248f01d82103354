"""What an operator types: prices, subscriptions, accounts; the same verbs as elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tenants.models import Quota
from tests import factories
from tests.billing.sold import rates, tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(capsys: Any) -> Any:
    def call(*words: str) -> str:
        call_command(*words)
        return capsys.readouterr().out

    return call


def sell(run: Any, plan: str, price: str) -> None:
    run("pricing", "draft", plan, "--valid-from", "2026-01-01", "--max-devices", "50")
    run("pricing", "price", f"{plan}/1", "base", "flat", price, "--currency", "EUR")
    run("pricing", "publish", f"{plan}/1")


def test_a_price_list_on_the_command_line(run):
    factories.plan(name="team")
    assert run("pricing", "draft", "team", "--valid-from", "2026-01-01", "--trial-days", "14").startswith(
        "team/1  draft  month  10 devices"
    )
    assert run("pricing", "price", "team/1", "base", "flat", "29.00", "--currency", "EUR") == "base  flat  advance  29 EUR\n"
    tiers = ("--tier", "100:1.50", "--tier", ":1.00", "--included", "20")
    said = run("pricing", "price", "team/1", "devices", "active_device", "--currency", "EUR", *tiers)
    assert said == "devices  active_device  arrears  up to 100: 1.50, then 1.00 EUR  20 included\n"
    run("pricing", "price", "team/1", "extra", "flat", "1", "--currency", "EUR")
    run("pricing", "unprice", "team/1", "extra", "--currency", "EUR")
    assert "sold from 2026-01-01" in run("pricing", "publish", "team/1")
    assert "devices" in run("pricing", "show", "team/1")
    with pytest.raises(CommandError, match="published"):
        run("pricing", "price", "team/1", "base", "flat", "1", "--currency", "EUR")
    run("pricing", "draft", "team", "--valid-from", "2026-01-01")
    run("pricing", "discard", "team/2")
    assert len(run("pricing", "list").splitlines()) == 1
    with pytest.raises(CommandError, match="no version"):
        run("pricing", "show", "team/2")


def test_taxes_and_coupons_on_the_command_line(run):
    assert run("pricing", "tax", "DE", "19", "--valid-from", "2007-01-01") == "DE 19 %\n"
    assert run("pricing", "taxes") == "DE  19.00 %  from 2007-01-01\n"
    assert "10.00 EUR" in run("pricing", "coupon", "TEN", "--amount", "10", "--currency", "EUR", "--max-redemptions", "5")
    assert "20.00 %" in run("pricing", "coupon", "SPRING", "--percent", "20.00", "--months", "3")
    assert len(run("pricing", "coupons").splitlines()) == 2
    with pytest.raises(CommandError, match="no such amount"):
        run("pricing", "coupon", "HALF", "--amount", "0.5", "--currency", "JPY")


def test_a_subscription_on_the_command_line(run):
    rates()
    acme = factories.tenant("acme-inc")
    for plan, price in {"team": "29", "large": "99"}.items():
        factories.plan(name=plan)
        sell(run, plan, price)
    with pytest.raises(CommandError, match="no billing account"):
        run("subscription", "start", "acme-inc", "team/1")
    words = ("--name", "Acme", "--email", "a@acme.example", "--country", "DE", "--currency", "EUR", "--tax-id", "136695976")
    assert "DE136695976" in run("subscription", "account", "acme-inc", *words)
    assert "team/1  EUR" in run("subscription", "start", "acme-inc", "team/1", "--without-trial")
    assert "large/1 from" in run("subscription", "change", "acme-inc", "large/1")
    assert "team/1 from" in run("subscription", "change", "acme-inc", "team/1", "--when", "period_end")
    assert "further notice" in run("subscription", "undo", "acme-inc")
    run("subscription", "override", "acme-inc", "--max-devices", "70")
    assert Quota.objects.get(tenant=acme).limit == 70
    run("pricing", "coupon", "SPRING", "--percent", "20")
    assert "SPRING" in run("subscription", "redeem", "acme-inc", "SPRING")
    assert "25.00 EUR" in run("subscription", "credit", "acme-inc", "25.00", "--reason", "an outage")
    shown = run("subscription", "show", "acme-inc")
    assert "entitled to 70 devices" in shown
    assert "coupon SPRING" in shown
    number = next(line for line in shown.splitlines() if line.startswith("override")).split()[1]
    run("subscription", "end_override", number)
    assert "ends" in run("subscription", "cancel", "acme-inc")
    assert "ended" in run("subscription", "end", "acme-inc")
    with pytest.raises(CommandError, match="no override"):
        run("subscription", "end_override", "0")


def test_a_subscribers_plan_changes_by_its_subscription_alone(run):
    acme = tenant()
    factories.plan(name="team")
    sell(run, "team", "29")
    run("subscription", "start", acme.account, "team/1")
    factories.plan(name="other")
    with pytest.raises(CommandError, match="change the subscription"):
        run("tenant", "plan", acme.account, "other")
    run("subscription", "end", acme.account)
    assert "is on other" in run("tenant", "plan", acme.account, "other")


@pytest.mark.parametrize("words", [("nonsense",), ("NaN",), ("Infinity",)])
def test_what_is_no_price_is_refused(run, words):
    with pytest.raises(CommandError, match="is no price"):
        run("pricing", "price", "team/1", "base", "flat", *words, "--currency", "EUR")
    with pytest.raises(CommandError, match="is no tier"):
        run("pricing", "price", "team/1", "base", "flat", "--currency", "EUR", "--tier", "1.50")
