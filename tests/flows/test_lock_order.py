"""Admission and what observes devices lock one tenant's rows in one order: credential, slot, quota."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from placement import settling, slots
from placement.models import Grant
from tests import factories
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_look_that_finds_an_unexpected_device_and_settles_a_grant_waits_for_admission_and_no_longer(fleet_cluster: Any) -> None:
    customer, now = factories.customer(), timezone.now()
    assert bootstrap(customer.secret, {"registration_id": "a"}).status_code == 200
    grant = Grant.objects.of(customer.tenant).get()
    told: list[int] = []

    def another_device() -> None:
        try:
            told.append(bootstrap(customer.secret, {"registration_id": "b"}).status_code)
        finally:
            connection.close()

    asking = threading.Thread(target=another_device)
    with transaction.atomic():
        slots.take_unasked(customer.tenant.pk, now=now)
        asking.start()
        asking.join(0.7)  # it stands before a row of ours by now
        settling.release(grant.pk, now=now)
        slots.release_empty(customer.tenant.pk, seen_from=now, now=now)
    asking.join(10)
    assert told == [200]
    assert customer.quota().used == 1
