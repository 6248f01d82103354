"""The tenant guard: a query over tenants' rows that forgot the tenant raises, whatever it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Count, Exists, F, Max, OuterRef, Q, Subquery
from django.utils import timezone

from tenants.models import AuditEvent, EnrolmentKey, Tenant
from tenants.scoping import TenantForgotten, TenantManager
from tests import factories

pytestmark = pytest.mark.django_db
rows = EnrolmentKey.objects
ASKED: dict[str, Callable[[], Any]] = {
    "list": lambda: list(rows.all()),
    "filter": lambda: list(rows.filter(description="x")),
    "exclude": lambda: list(rows.exclude(description="x")),
    "get": lambda: rows.get(description="x"),
    "first": rows.first,
    "last": lambda: rows.order_by("pk").last(),
    "latest": lambda: rows.latest("created_at"),
    "count": rows.count,
    "exists": rows.exists,
    "len": lambda: len(rows.all()),
    "bool": lambda: bool(rows.all()),
    "contains": lambda: rows.all().contains(EnrolmentKey()),
    "index": lambda: rows.all()[0],
    "slice": lambda: list(rows.all()[:5]),
    "aggregate": lambda: rows.aggregate(Max("uses")),
    "annotate": lambda: list(rows.annotate(n=Count("grants"))),
    "iterator": lambda: list(rows.iterator()),
    "values": lambda: list(rows.values("id")),
    "values_list": lambda: list(rows.values_list("id", flat=True)),
    "distinct": lambda: list(rows.values_list("description").distinct()),
    "dates": lambda: list(rows.dates("created_at", "day")),
    "datetimes": lambda: list(rows.datetimes("created_at", "day")),
    "in_bulk": lambda: rows.in_bulk(["00000000-0000-0000-0000-000000000000"]),
    "select_for_update": lambda: list(rows.select_for_update()),
    "update": lambda: rows.update(uses=F("uses") + 1),
    "filtered update": lambda: rows.filter(uses=0).update(uses=1),
    "delete": lambda: rows.all().delete(),
    "union": lambda: list(rows.all().union(rows.filter(uses=1))),
    "half a union": lambda: list(rows.across_tenants().union(rows.filter(uses=1))),
    "union of a forgotten one": lambda: list(rows.filter(uses=1).union(rows.across_tenants())),
    "explain": lambda: rows.all().explain(),
    "subquery": lambda: list(Tenant.objects.filter(pk__in=rows.values("tenant"))),
    "exists subquery": lambda: list(Tenant.objects.filter(Exists(rows.filter(tenant=OuterRef("pk"))))),
    "annotated subquery": lambda: list(Tenant.objects.annotate(k=Subquery(rows.filter(tenant=OuterRef("pk")).values("hint")[:1]))),
    "subquery of an opened one": lambda: list(AuditEvent.objects.across_tenants().filter(tenant__in=rows.values("tenant"))),
    "get_or_create": lambda: rows.get_or_create(description="x"),
    "update_or_create": lambda: rows.update_or_create(description="x", defaults={"uses": 1}),
    "bulk_update": lambda: rows.bulk_update([EnrolmentKey(uses=1)], ["uses"]),
}


@pytest.mark.parametrize("way", ASKED)
def test_a_query_that_forgot_its_tenant_raises(way):
    factories.customer()
    with pytest.raises(TenantForgotten):
        ASKED[way]()


def test_a_query_that_names_its_tenant_sees_that_tenant_alone():
    mine, other = factories.customer(), factories.customer()
    assert list(rows.of(mine.tenant)) == [mine.key]
    assert list(rows.of(other.tenant.pk)) == [other.key]
    assert rows.of(mine.tenant).filter(Q(pk=other.key.pk) | Q(pk=mine.key.pk)).count() == 1
    assert set(rows.across_tenants()) == {mine.key, other.key}
    assert rows.of(mine.tenant).filter(pk=other.key.pk).update(description="stolen") == 0
    assert rows.of(mine.tenant).filter(pk=other.key.pk).delete()[0] == 0


def test_a_row_at_hand_may_be_saved_reloaded_and_followed():
    customer = factories.customer()
    customer.key.description = "front door"
    customer.key.save()
    customer.key.refresh_from_db()
    assert customer.key.description == "front door"
    assert list(customer.tenant.enrolment_keys.all()) == [customer.key]
    assert customer.key.tenant == customer.tenant
    assert customer.tenant.enrolment_keys.filter(revoked_at=None).update(revoked_at=timezone.now()) == 1


def test_every_model_with_a_tenant_is_guarded():
    unguarded = {"Quota", "AuditChain"}  # the counters of a tenant, keyed by it: nothing of theirs is listed to anybody
    for model in apps.get_models():
        if any(field.name == "tenant" and field.related_model is Tenant for field in model._meta.get_fields() if field.concrete):
            assert isinstance(model._default_manager, TenantManager) or model.__name__ in unguarded, model
