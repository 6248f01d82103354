"""Versions of plans: drafted, priced, published, and frozen by the database from then on."""

from __future__ import annotations

import threading
from decimal import Decimal

import psycopg
import pytest
from django.db import transaction
from django.db.utils import InternalError, NotSupportedError, ProgrammingError

from billing import catalogue
from billing.errors import NoPriceInCurrency
from billing.models import PlanVersion, PriceComponent
from billing.rating.cycles import Interval
from billing.rating.terms import Tier
from tenants import plans
from tenants.errors import MalformedRequest, WrongState
from tests import factories
from tests.billing.sold import BEGIN, TOLD, at, told, version

pytestmark = pytest.mark.django_db
REFUSED = (InternalError, NotSupportedError, ProgrammingError)


def test_a_version_is_read_as_the_terms_that_were_priced():
    terms = catalogue.terms_of(version(currencies=("EUR", "JPY")), "JPY")
    assert (terms.version, terms.currency, terms.interval, terms.inclusive) == (1, "JPY", Interval.MONTH, False)
    base, devices, hours = terms.components
    assert (base.unit_price, devices.tiers, hours.included) == (29, (Tier(100, Decimal("1.50")), Tier(None, Decimal(1))), 20_000)
    with pytest.raises(NoPriceInCurrency, match="USD"):
        catalogue.terms_of(version(), "USD")


def test_versions_are_numbered_and_the_newest_published_one_is_sold():
    first = version()
    second = version(of=first.plan, publish=False)
    assert (first.number, second.number) == (1, 2)
    assert catalogue.sold(first.plan, "month", now=at(1)) == first
    catalogue.publish(second, **TOLD)
    assert catalogue.sold(first.plan, "month", now=at(1)) == second
    assert catalogue.sold(first.plan, "year", now=at(1)) is None
    assert catalogue.sold(first.plan, "month", now=BEGIN.replace(year=2025)) is None


def test_what_is_published_is_frozen_for_the_verbs():
    sold = version()
    for act in (
        lambda: catalogue.publish(sold, **TOLD),
        lambda: catalogue.discard(sold, **TOLD),
        lambda: catalogue.unprice(sold, currency="EUR", key="base", **TOLD),
        lambda: catalogue.price(sold, currency="EUR", key="x", kind="flat", charged="advance", **TOLD),
    ):
        with pytest.raises(WrongState):
            act()


def test_what_is_published_is_frozen_in_the_database():
    sold = version()
    price = sold.components.first()
    for act in (
        lambda: PlanVersion.objects.filter(pk=sold.pk).update(trial_days=9),
        lambda: PlanVersion.objects.filter(pk=sold.pk).update(published_at=None),
        lambda: PriceComponent.objects.filter(pk=price.pk).update(unit_price=1),
        lambda: PriceComponent.objects.filter(pk=price.pk).update(version=version(publish=False)),
        lambda: PriceComponent.objects.filter(pk=price.pk).delete(),
        lambda: PriceComponent.objects.create(version=sold, currency="EUR", key="late", kind="flat", charged="advance"),
        lambda: PlanVersion.objects.filter(pk=sold.pk).delete(),
    ):
        with pytest.raises(REFUSED, match=r"never change|Cannot update or delete"), transaction.atomic():
            act()


@pytest.mark.django_db(transaction=True)
def test_a_price_that_races_with_the_publication_waits_and_is_refused(database_urls):
    draft = version(publish=False)
    outcomes = []

    def late() -> None:
        with psycopg.connect(database_urls["web"]) as other:
            try:
                other.execute(
                    "insert into billing_pricecomponent (version_id, currency, key, kind, charged, unit_price, included, tiers)"
                    f" values ({draft.pk}, 'EUR', 'late', 'flat', 'advance', 1, 0, '[]')"
                )
                outcomes.append("in")
            except psycopg.errors.RaiseException:
                outcomes.append("refused")

    with psycopg.connect(database_urls["web"]) as first:
        first.execute(f"update billing_planversion set published_at = now() where id = {draft.pk}")
        racing = threading.Thread(target=late)
        racing.start()
        racing.join(0.3)
        assert racing.is_alive()
        first.commit()
        racing.join(10)
    assert outcomes == ["refused"]


def test_a_draft_is_priced_again_and_discarded():
    draft = version(publish=False)
    catalogue.price(draft, currency="EUR", key="base", kind="flat", charged="arrears", unit_price=Decimal(7), **TOLD)
    assert draft.components.get(key="base").unit_price == 7
    catalogue.unprice(draft, currency="EUR", key="base", **TOLD)
    with pytest.raises(WrongState):
        catalogue.unprice(draft, currency="EUR", key="base", **TOLD)
    catalogue.discard(draft, **TOLD)
    assert not PlanVersion.objects.exists()


@pytest.mark.parametrize(
    ("field", "nonsense"),
    [
        ("currency", {"currency": "EURO"}),
        ("kind", {"kind": "smiles"}),
        ("component", {"kind": "active_device", "charged": "arrears", "tiers": [(5, Decimal(1))]}),
        ("unit_price", {"unit_price": Decimal("0.0000000001")}),
        ("key", {"key": "two words"}),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(field, nonsense):
    draft = version(publish=False)
    with pytest.raises(MalformedRequest) as refused, transaction.atomic():
        catalogue.price(draft, **{"currency": "EUR", "key": "x", "kind": "flat", "charged": "advance", **nonsense}, **TOLD)
    assert field in refused.value.errors


def test_usage_in_advance_is_refused():
    with pytest.raises(MalformedRequest):
        catalogue.price(version(publish=False), currency="EUR", key="x", kind="device_hours", charged="advance", **TOLD)


def test_a_version_without_prices_or_with_others_in_each_currency_is_not_published():
    empty = catalogue.draft(factories.plan(), valid_from=BEGIN, **TOLD)
    with pytest.raises(WrongState, match="no prices"):
        catalogue.publish(empty, **TOLD)
    uneven = version(currencies=("EUR", "USD"), publish=False)
    catalogue.unprice(uneven, currency="USD", key="hours", **TOLD)
    with pytest.raises(WrongState, match="every currency"):
        catalogue.publish(uneven, **TOLD)


def test_a_draft_of_a_plan_that_has_moved_elsewhere_since_is_not_published():
    draft = version(publish=False)
    plans.change(draft.plan, regions=["eu"], **told(at(2)))
    with pytest.raises(WrongState, match="regions"):
        catalogue.publish(draft, **TOLD)
