"""Phases and tax treatments as documents, and back: an invoice keeps the terms that it was rated with, and is rated again by them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from billing.rating.cycles import Interval
from billing.rating.tax import Kind as TaxKind
from billing.rating.tax import Treatment
from billing.rating.terms import Charged, Coupon, Kind, Override, Phase, PriceComponent, Terms, Tier


def freeze(phases: Iterable[Phase]) -> list[dict[str, Any]]:
    """Plain JSON. Numbers of money are texts, moments ISO 8601."""
    return [
        {
            "plan": phase.terms.plan,
            "version": phase.terms.version,
            "currency": phase.terms.currency,
            "interval": phase.terms.interval.value,
            "inclusive": phase.terms.inclusive,
            "components": [_component(each) for each in phase.terms.components],
            "start": phase.start.isoformat(),
            "end": _moment(phase.end),
            "anchor": phase.anchor.isoformat(),
            "trial": phase.trial,
            "overrides": [
                {"component": each.component, "unit_price": _number(each.unit_price), "included": each.included} for each in phase.overrides
            ],
            "coupons": [
                {
                    "code": each.code,
                    "start": each.start.isoformat(),
                    "end": _moment(each.end),
                    "percent": _number(each.percent),
                    "amount": each.amount,
                }
                for each in phase.coupons
            ],
        }
        for phase in phases
    ]


def thaw(documents: Iterable[dict[str, Any]]) -> tuple[Phase, ...]:
    """What `freeze` was given."""
    return tuple(_phase(each) for each in documents)


def freeze_treatment(treatment: Treatment) -> dict[str, Any]:
    told = {"kind": treatment.kind.value, "rates": [[first.isoformat(), str(percent)] for first, percent in treatment.rates]}
    charged = [[day.isoformat(), str(percent)] for day, percent in treatment.charged]
    return told | ({"charged": charged} if charged else {})


def thaw_treatment(document: dict[str, Any]) -> Treatment:
    rates, charged = (
        tuple((date.fromisoformat(day), Decimal(percent)) for day, percent in document.get(name, ())) for name in ("rates", "charged")
    )
    return Treatment(TaxKind(document["kind"]), rates, charged)


def _component(each: PriceComponent) -> dict[str, Any]:
    return {
        "key": each.key,
        "kind": each.kind.value,
        "charged": each.charged.value,
        "unit_price": str(each.unit_price),
        "included": each.included,
        "tiers": [[tier.up_to, str(tier.unit_price)] for tier in each.tiers],
    }


def _phase(told: dict[str, Any]) -> Phase:
    components = tuple(
        PriceComponent(
            each["key"],
            Kind(each["kind"]),
            Charged(each["charged"]),
            Decimal(each["unit_price"]),
            each["included"],
            tuple(Tier(up_to, Decimal(price)) for up_to, price in each["tiers"]),
        )
        for each in told["components"]
    )
    return Phase(
        Terms(told["plan"], told["version"], told["currency"], Interval(told["interval"]), components, told["inclusive"]),
        datetime.fromisoformat(told["start"]),
        _end(told["end"]),
        datetime.fromisoformat(told["anchor"]),
        told["trial"],
        tuple(Override(each["component"], _decimal(each["unit_price"]), each["included"]) for each in told["overrides"]),
        tuple(
            Coupon(each["code"], datetime.fromisoformat(each["start"]), _end(each["end"]), _decimal(each["percent"]), each["amount"])
            for each in told["coupons"]
        ),
    )


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _end(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _number(number: Decimal | None) -> str | None:
    return None if number is None else str(number)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
