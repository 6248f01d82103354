"""The operators' pages: every list and every row can be read, cheaply, and no secret is on any of them."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from placement.models import Device, Grant, OutboxEvent
from tenants.models import ApiToken, EnrolmentKey
from tenants.office import OperatorAdmin
from tests.admin.rows import fill
from tests.conftest import superuser

pytestmark = pytest.mark.django_db
OURS = [model for model in admin.site._registry if model._meta.app_label in ("tenants", "placement", "billing")]
MOST_QUERIES = 20  # of a list page: the session, the operator, the count, the rows and the filters' choices
ids = [model._meta.model_name for model in OURS]


def address(model, page, *arguments):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def rows_of(model):
    manager = model._default_manager
    return manager.across_tenants() if hasattr(manager, "across_tenants") else manager.all()


def queries_of_each_list(office):
    seen = {}
    for model in OURS:
        with CaptureQueriesContext(connection) as asked:
            assert office.get(address(model, "changelist")).status_code == 200
        seen[model._meta.model_name] = len(asked)
    return seen


def test_a_list_of_fifty_rows_asks_the_database_no_more_than_a_list_of_five(office, fleet_clusters):
    clusters = [fleet_clusters() for _ in range(3)]
    fill(clusters, tenants=5)
    queries_of_each_list(office)  # Django's own caches are warm
    few = queries_of_each_list(office)
    fill(clusters, tenants=45, first=5)
    many = queries_of_each_list(office)
    assert many == few
    assert max(many.values()) <= MOST_QUERIES, many


@pytest.mark.parametrize("model", OURS, ids=ids)
def test_every_list_can_be_searched_and_every_row_opened(model, office, fleet_cluster):
    fill([fleet_cluster], tenants=2)
    assert office.get(address(model, "changelist"), {"q": "till"}).status_code == 200
    row = rows_of(model).first()
    if row is None:
        assert model is OutboxEvent
        return
    answer = office.get(address(model, "change", row.pk))
    assert answer.status_code == 200
    assert "_save" not in answer.content.decode(), "rows are changed by verbs alone"


@pytest.mark.parametrize("model", OURS, ids=ids)
def test_no_row_is_saved_or_deleted_from_a_form(model, office, fleet_cluster):
    fill([fleet_cluster], tenants=1)
    row = rows_of(model).first()
    if row is None:
        return
    assert issubclass(type(admin.site._registry[model]), OperatorAdmin)
    assert office.post(address(model, "change", row.pk), {"state": "active"}).status_code == 403
    assert office.get(address(model, "delete", row.pk)).status_code == 403
    assert office.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    office.post(address(model, "changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert rows_of(model).filter(pk=row.pk).exists()


def test_no_page_shows_a_digest_or_anything_sealed(office, fleet_clusters):
    cluster = fleet_clusters(admin_key_sealed="sealed-admin-key")
    fill([cluster], tenants=1)
    Grant.objects.across_tenants().update(answer_sealed="sealed-answer")
    for model in OURS:
        for page in (address(model, "changelist"), *(address(model, "change", row.pk) for row in rows_of(model))):
            text = office.get(page).content.decode()
            assert "sealed-a" not in text, page
            for credential in (EnrolmentKey, ApiToken):
                for row in rows_of(credential):
                    assert bytes(row.digest).hex() not in text
                    assert str(bytes(row.digest)) not in text


def test_the_first_page_shows_the_fleet_at_a_glance(office, fleet_clusters):
    one, two = fleet_clusters(capacity=100, committed=93), fleet_clusters(state="cordoned")
    fill([one], tenants=4)
    Grant.objects.across_tenants().filter(hostname="till-1").update(state="issued", settled_at=None)
    answer = office.get("/admin/")
    seen = {glance.cluster.pk: glance for glance in answer.context["overview"].clusters}
    assert (seen[one.cluster_id].online, seen[one.cluster_id].devices) == (2, 4)
    assert not seen[one.cluster_id].late
    assert seen[two.cluster_id].late, "it has never been polled"
    text = answer.content.decode()
    assert "93 / 100" in text
    assert 'class="meter-nearly"' in text
    assert "style=" not in text


def test_the_first_page_costs_the_same_with_many_clusters(office, fleet_clusters):
    fleet_clusters()
    office.get("/admin/")
    with CaptureQueriesContext(connection) as few:
        office.get("/admin/")
    [fleet_clusters() for _ in range(6)]
    with CaptureQueriesContext(connection) as many:
        office.get("/admin/")
    assert len(many) == len(few)


def test_the_outbox_shows_what_a_server_wrote(office, transactional_db, fleet_cluster):
    with superuser() as connection_:
        connection_.execute(
            "insert into headscale.event (cluster_id, kind, node_id) values (%s, 'node.new', 77)", [fleet_cluster.cluster_id]
        )
    text = office.get("/admin/placement/outboxevent/").content.decode()
    assert "node.new" in text
    assert fleet_cluster.cluster_id in text


def test_a_tenants_page_leads_to_its_rows(office, fleet_cluster):
    fill([fleet_cluster], tenants=2)
    device = Device.objects.across_tenants().select_related("tenant").first()
    page = office.get(address(type(device.tenant), "change", device.tenant.pk)).content.decode()
    link = f"/admin/placement/device/?account={device.tenant.account}"
    assert link in page
    assert office.get(link).context["cl"].result_count == 1


def test_a_rows_history_is_its_audit(office, fleet_cluster):
    fill([fleet_cluster], tenants=1)
    key = EnrolmentKey.objects.across_tenants().filter(kind="bearer").first()
    answer = office.get(address(EnrolmentKey, "history", key.pk), follow=True)
    assert "enrolment_key.issue" in answer.content.decode()


def test_who_may_only_look_sees_no_button_and_does_nothing(visitor_with, fleet_cluster):
    fill([fleet_cluster], tenants=1)
    device = Device.objects.across_tenants().select_related("tenant").first()
    visitor = visitor_with("view_tenant", "view_plan")
    page = address(type(device.tenant), "change", device.tenant.pk)
    assert "/act/" not in visitor.get(page).content.decode()
    assert visitor.post(address(type(device.tenant), "act", device.tenant.pk, "suspend")).status_code == 403
    assert visitor.get("/admin/tenants/tenant/add/").status_code == 403
    assert visitor.get("/admin/placement/device/").status_code == 403
    assert visitor.get("/admin/tenants/auditevent/verify/").status_code == 403
    assert "overview" not in visitor.get("/admin/").context
