"""What providers tell: how to pay, and what came. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Asked:
    """How an invoice is paid. `amount`: what is open, in minor units. `account` and `reference` of a transfer, or the `url` of a page."""

    provider: str
    amount: int
    currency: str
    reference: str = ""
    account: str = ""
    url: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Received:
    """Money that came. `reference` is the provider's own for it: the same one is entered once. Minor units."""

    provider: str
    reference: str
    amount: int
    currency: str
    at: datetime
    note: str = ""
