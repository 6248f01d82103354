"""A NUL, which PostgreSQL keeps in no text, is one more thing that nobody has heard of."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tenants import members, people
from tests import factories
from tests.api.callers import program_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("query", ["cluster=a%00b", "host=a%00b.example.com", "tenant=a%00b"])
def test_a_nul_in_the_address_of_a_login_page_is_no_internal_error(fleet_cluster: Any, query: str, settings: Any) -> None:
    settings.TENANT_DOMAIN = "example.com"
    now = timezone.now()
    tenant, person = factories.tenant(), people.make("ann@example.com", now=now, actor="system:tests")
    members.add(tenant, person, "owner", now=now, actor="system:tests")
    client = Client(raise_request_exception=False)
    client.force_login(person)
    assert client.get(f"/register/hskey-authreq-{'a' * 24}?{query}").status_code == 400


@pytest.mark.parametrize("path", ["enrolments/a%00b", "enrolments/a%00b/timeline", "enrolments/a%00b/report"])
def test_a_nul_in_a_registration_id_is_not_found(path: str) -> None:
    tenant = factories.tenant()
    assert program_of(tenant).get(f"tenants/{tenant.account}/{path}").status_code == 404
