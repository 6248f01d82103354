"""Who issues the invoices of tests, and evidence that is never too old: their June was in 2026."""

from __future__ import annotations

from typing import Any

import pytest

SELLER = {
    "name": "Fleet GmbH",
    "address": "Ring 1\n10115 Berlin",
    "country": "DE",
    "tax_id": "DE136695976",
    "bank": "IBAN DE02 1203 0000 0000 2020 51",
}


@pytest.fixture(autouse=True)
def _seller(settings: Any) -> None:
    settings.SELLER = SELLER
    settings.METERING_EVIDENCE_MONTHS = settings.METERING_DEVICE_DAY_MONTHS = 1200
