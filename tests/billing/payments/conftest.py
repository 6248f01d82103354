"""Who is paid in tests, and on which account."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.invoices.conftest import SELLER


@pytest.fixture(autouse=True)
def _paid(settings: Any) -> None:
    settings.SELLER = SELLER
    settings.METERING_EVIDENCE_MONTHS = settings.METERING_DEVICE_DAY_MONTHS = 1200
    settings.BANK_ACCOUNTS = ["DE02120300000000202051"]
    settings.DUNNING_DAYS = [14, 30, 60]
