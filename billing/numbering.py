"""Who issues invoices, and their numbers: gapless per entity, series and year.

A number is taken in the transaction of what gets it: rolled back, it was never taken. The series' row is locked until that transaction commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from billing.errors import NoSeller
from billing.models import Invoice

TAKE = """
insert into billing_numberseries (entity, series, year, last) values (%s, %s, %s, 1)
on conflict (entity, series, year) do update set last = billing_numberseries.last + 1 returning last"""


@dataclass(frozen=True)
class Seller:
    """The entity that issues. `told`: what its invoices say of it: name, address, country, tax_id, bank."""

    entity: str
    invoices: str
    credit_notes: str
    told: dict[str, str]


@dataclass(frozen=True)
class Number:
    """One number of a series."""

    entity: str
    series: str
    year: int
    number: int

    @property
    def name(self) -> str:
        """As people write it: INV-2026-000001."""
        return "-".join(part for part in (self.entity, self.series, str(self.year), f"{self.number:06d}") if part)

    @property
    def columns(self) -> dict[str, Any]:
        return {"entity": self.entity, "series": self.series, "year": self.year, "number": self.number, "name": self.name}


def seller(*, of: Invoice | None = None) -> Seller:
    """`of`: what a credit note corrects; it is issued by the entity that issued that, also when another one has taken its place since. Raises: NoSeller."""
    told = settings.SELLER
    if not told:
        raise NoSeller(_("set ACS_SELLER: the name, address, country and tax id that invoices are issued under"))
    shown = {name: str(told.get(name, "")) for name in ("name", "address", "country", "tax_id", "bank")}
    if of is not None and of.entity != told.get("entity", ""):
        return Seller(of.entity, of.series, told.get("credit_series", "CN"), dict(of.seller))
    return Seller(told.get("entity", ""), told.get("series", "INV"), told.get("credit_series", "CN"), shown)


def take(of: Seller, kind: str, year: int) -> Number:
    """The next number, ours if this transaction commits."""
    series = of.invoices if kind == Invoice.Kind.INVOICE else of.credit_notes
    with connection.cursor() as cursor:
        cursor.execute(TAKE, [of.entity, series, year])
        return Number(of.entity, series, year, cursor.fetchone()[0])
