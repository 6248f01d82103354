"""The operators' page that tells why a device is not in its network."""

from __future__ import annotations

import pytest

from placement.models import Slot
from tests import factories
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db
BODY = {"registration_id": "till-7", "hostname": "till-7", "os": "linux"}


def test_the_operators_page_shows_it_and_finds_it_by_device(office, fleet_cluster):
    customer = factories.customer(max_devices=1)
    bootstrap(customer.secret, {"registration_id": "till-1"})
    bootstrap(customer.secret, BODY)
    page = office.get("/admin/placement/why/", {"registration_id": "till-7"}).content.decode()
    assert "Every device slot of the tenant" in page
    assert customer.account in page
    assert "Nobody has heard of it" in office.get("/admin/placement/why/", {"registration_id": "till-99"}).content.decode()
    assert office.get("/admin/placement/why/", {"device": "nonsense"}).status_code == 200
    slot = Slot.objects.of(customer.tenant).get()
    assert "/admin/placement/why/?" in office.get(f"/admin/placement/slot/{slot.pk}/change/").content.decode()


def test_who_may_not_see_refusals_does_not_see_the_page(visitor_with):
    assert visitor_with("view_tenant").get("/admin/placement/why/", {"registration_id": "x"}).status_code == 403
