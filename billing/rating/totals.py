"""The foot of an invoice: net, tax by rate, what the tenant's balance pays, and what remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billing.rating.lines import Line
from billing.rating.tax import Tax, Treatment, taxes


@dataclass(frozen=True)
class Totals:
    """In minor units. gross = net + tax. `spent`: what the balance pays; `payable`: what remains to be paid; `carried`: what goes to the balance
    where credits were more than charges. gross = spent + payable - carried."""

    net: int
    taxes: tuple[Tax, ...]
    gross: int
    spent: int
    payable: int
    carried: int


def totals(lines: Sequence[Line], treatment: Treatment, *, balance: int = 0) -> Totals:
    """`balance`: what the tenant has in credit, in minor units, not negative. Raises: NoTaxRate."""
    found = taxes(lines, treatment)
    net = sum(tax.net for tax in found)
    gross = net + sum(tax.amount for tax in found)
    spent = min(max(gross, 0), balance)
    return Totals(net, found, gross, spent, payable=max(gross, 0) - spent, carried=max(-gross, 0))
