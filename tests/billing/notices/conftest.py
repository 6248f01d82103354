"""A mail server that takes what customers are told, and who sends it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.invoices.conftest import SELLER
from tests.fakes.smtp_wire import MailServer, point_to


@pytest.fixture(autouse=True)
def _sends(settings: Any) -> None:
    settings.SELLER = SELLER
    settings.METERING_EVIDENCE_MONTHS = settings.METERING_DEVICE_DAY_MONTHS = 1200
    settings.BANK_ACCOUNTS = ["DE02120300000000202051"]
    settings.DUNNING_DAYS = [14, 30, 60]


@pytest.fixture
def post(settings: Any) -> Any:
    """The server; `post.got` is what it was given."""
    server = MailServer()
    point_to(settings, server)
    with server.running():
        yield server
