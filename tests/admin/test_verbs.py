"""What operators do at their pages: the same verbs as the API's, asked before they are done, refusals as words."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from placement.models import AuditFinding, Cluster, Device, Route
from tenants import credentials, enrolments, groups, lifecycle
from tenants.models import ApiToken, AuditEvent, Enrolment, EnrolmentGroup, EnrolmentKey, Membership, Peering, Plan, Tenant, TrustPolicy
from tenants.tokens import digest_of
from tests import factories
from tests.admin.rows import fill
from tests.conftest import superuser
from tests.fakes.fleet_server import serving
from tests.peered import device, offered, settled

pytestmark = pytest.mark.django_db


def act(office, row, verb, **said):
    """The verb's page, asked and confirmed; what the operator sees afterwards."""
    page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_act", args=[row.pk, verb])
    asked = office.get(page)
    assert asked.status_code == 200
    assert "no-store" in asked["Cache-Control"]
    return office.post(page, said, follow=True)


def acts(verb):
    return list(AuditEvent.objects.across_tenants().filter(verb=verb).values_list("actor", flat=True))


def test_asking_changes_nothing(office):
    tenant = factories.tenant()
    office.get(reverse("admin:tenants_tenant_act", args=[tenant.pk, "suspend"]))
    tenant.refresh_from_db()
    assert tenant.state == "active"


def test_a_tenants_whole_life_at_the_desk(office):
    plan, larger = factories.plan(max_devices=3), factories.plan(max_devices=30)
    answer = office.post("/admin/tenants/tenant/add/", {"account": "acme-inc", "title": "Acme", "plan": plan.pk}, follow=True)
    assert answer.status_code == 200
    tenant = Tenant.objects.get(account="acme-inc")
    seen = []
    for verb, said in (
        ("suspend", {"reason": "unpaid"}),
        ("resume", {}),
        ("change-plan", {"plan": larger.pk}),
        ("close", {}),
        ("reopen", {}),
    ):
        act(office, tenant, verb, **said)
        tenant = Tenant.objects.get(pk=tenant.pk)
        seen.append((tenant.state, tenant.quota.limit))
    assert seen == [("suspended", 3), ("active", 3), ("active", 30), ("closed", 30), ("active", 30)]
    told = AuditEvent.objects.of(tenant).order_by("id").values_list("verb", "actor")
    verbs = ["tenant.create", "tenant.suspend", "tenant.resume", "tenant.change_plan", "tenant.close", "tenant.reopen"]
    assert list(told) == [(verb, "operator:olga") for verb in verbs]


def test_a_name_that_cannot_be_an_account_is_refused_at_its_field(office):
    plan = factories.plan()
    answer = office.post("/admin/tenants/tenant/add/", {"account": "acme--inc", "plan": plan.pk})
    assert answer.status_code == 200
    assert "two hyphens" in answer.context["form"].errors["account"][0]
    factories.tenant("taken-one")
    answer = office.post("/admin/tenants/tenant/add/", {"account": "taken-one", "plan": plan.pk})
    assert answer.context["form"].errors["account"] == ["Taken"]


def test_an_act_that_no_longer_fits_is_a_message_and_no_error(office):
    tenant = factories.tenant()
    lifecycle.suspend(tenant, now=timezone.now(), actor="system:tests")
    answer = act(office, tenant, "suspend")
    assert answer.status_code == 200
    assert "The tenant is suspended" in answer.content.decode()
    assert len(acts("tenant.suspend")) == 1


def test_a_new_plan_and_a_changed_one_reach_the_quota(office):
    said = {
        "name": "small",
        "title": "Small",
        "max_devices": 2,
        "expected_devices": 1,
        "regions": "eu,us",
        "default_region": "ap",
        "service_class": "standard",
        "strategy": "shared",
    }
    answer = office.post("/admin/tenants/plan/add/", said)
    assert "default_region" in answer.context["form"].errors
    office.post("/admin/tenants/plan/add/", {**said, "default_region": "eu"})
    plan = Plan.objects.get(name="small")
    assert plan.regions == ["eu", "us"]
    tenant = lifecycle.create("on-small", plan=plan, now=timezone.now(), actor="system:tests")
    act(office, plan, "change", **{**said, "max_devices": 5, "regions": "", "service_class": "premium"})
    assert Plan.objects.get(name="small").service_class == "premium"
    tenant.quota.refresh_from_db()
    assert tenant.quota.limit == 5
    assert acts("plan.change") == ["operator:olga"]


def test_a_keys_secret_is_in_one_answer_and_nowhere_else(office):
    tenant = factories.tenant()
    said = {"tenant": str(tenant.pk), "description": "tills", "max_uses": 1, "valid_days": 30, "lifetime_minutes": 60}
    answer = office.post("/admin/tenants/enrolmentkey/add/", said)
    secret = answer.context["secret"]
    assert "no-store" in answer["Cache-Control"]
    key = EnrolmentKey.objects.of(tenant).get()
    assert bytes(key.digest) == digest_of(secret)
    assert (key.max_uses, key.ephemeral, key.expires_at is None) == (1, False, False)
    for page in ("/admin/tenants/enrolmentkey/", f"/admin/tenants/enrolmentkey/{key.pk}/change/", "/admin/tenants/auditevent/"):
        assert secret not in office.get(page).content.decode()
    act(office, key, "revoke")
    key.refresh_from_db()
    assert key.revoked_at
    assert acts("enrolment_key.issue") == acts("enrolment_key.revoke") == ["operator:olga"]


def test_a_key_for_a_closed_tenant_is_refused_in_words(office):
    tenant = factories.tenant()
    lifecycle.close(tenant, now=timezone.now(), actor="system:tests")
    answer = office.post("/admin/tenants/enrolmentkey/add/", {"tenant": str(tenant.pk), "lifetime_minutes": 60})
    assert "The tenant is closed" in answer.content.decode()


@pytest.mark.parametrize("of_a_tenant", [True, False])
def test_a_token_of_a_tenant_or_of_an_operator(office, operator, of_a_tenant):
    tenant = factories.tenant()
    said = {"tenant": str(tenant.pk) if of_a_tenant else "", "scopes": ["auth_keys"], "valid_days": 7}
    secret = office.post("/admin/tenants/apitoken/add/", said).context["secret"]
    token = ApiToken.objects.across_tenants().get(digest=digest_of(secret))
    assert (token.tenant == tenant) is of_a_tenant
    assert token.created_by == operator
    act(office, token, "revoke")
    assert acts("token.revoke") == ["operator:olga"]


def test_a_scope_that_only_operators_have_is_refused_for_a_tenant(office):
    tenant = factories.tenant()
    answer = office.post("/admin/tenants/apitoken/add/", {"tenant": str(tenant.pk), "scopes": ["clusters"], "valid_days": 7})
    assert "scopes" in answer.context["form"].errors


def test_a_new_member_gets_a_link_this_once_another_role_and_leaves(office):
    tenant = factories.tenant("acme-inc")
    said = {"tenant": tenant.pk, "email": "ann@people.example", "role": "owner"}
    refused = office.post("/admin/tenants/membership/add/", said)
    assert "obody has verified this address" in refused.content.decode()
    made = office.post("/admin/tenants/membership/add/", {**said, "new": "on"})
    assert "http://testserver/accounts/password/reset/key/" in made.content.decode()
    held = Membership.objects.of(tenant).get()
    assert "The last owner stays" in act(office, held, "remove").content.decode()
    other = office.post("/admin/tenants/membership/add/", {**said, "email": "bob@people.example", "new": "on"})
    assert other.status_code == 200
    act(office, held, "role", role="member")
    act(office, held, "remove")
    assert Membership.objects.of(tenant).get().user.email == "bob@people.example"
    assert (acts("member.add"), acts("member.remove")) == (["operator:olga"] * 2, ["operator:olga"])


def test_a_clusters_states(office, fleet_cluster):
    for verb, state in (("cordon", "cordoned"), ("drain", "draining"), ("uncordon", "active"), ("offline", "offline")):
        assert act(office, fleet_cluster.row, verb).status_code == 200
        assert fleet_cluster.row.state == state
    answer = act(office, fleet_cluster.row, "uncordon")
    assert "cluster register" in answer.content.decode()
    assert acts("cluster.offline") == ["operator:olga"]


def test_many_at_once_are_asked_for_once_and_each_answers_for_itself(office):
    tenants = [factories.tenant() for _ in range(3)]
    lifecycle.suspend(tenants[0], now=timezone.now(), actor="system:tests")
    chosen = {"action": "suspend", "_selected_action": [str(tenant.pk) for tenant in tenants]}
    asked = office.post("/admin/tenants/tenant/", chosen)
    assert asked.status_code == 200
    assert Tenant.objects.filter(state="active").count() == 2, "it asks first"
    done = office.post("/admin/tenants/tenant/", {**chosen, "confirmed": "1", "reason": "unpaid"}, follow=True)
    assert Tenant.objects.filter(state="suspended").count() == 3
    words = [str(message) for message in done.context["messages"]]
    assert any("The tenant is suspended" in word for word in words)
    assert any("2 rows" in word for word in words)


def test_a_device_whose_cluster_is_down_stays_as_it_is_and_the_operator_is_told(office, fleet_clusters, settings):
    from placement import clusters

    cluster = fleet_clusters()
    Cluster.objects.filter(pk=cluster.cluster_id).update(admin_key_sealed=clusters.seal_key(cluster.cluster_id, "key"))
    fill([cluster], tenants=1)
    device = Device.objects.across_tenants().get()
    for verb, said in (("rename", {"name": "till-99"}), ("expire", {}), ("delete", {})):
        answer = act(office, device, verb, **said)
        assert answer.status_code == 200
        assert answer.context["form"].non_field_errors(), verb
    device.refresh_from_db()
    assert (device.name, device.gone_at) == ("till-0", None)
    assert not acts("device.delete")


def test_a_device_of_a_cluster_without_a_readable_key_is_told_so(office, fleet_cluster):
    fill([fleet_cluster], tenants=1)
    answer = act(office, Device.objects.across_tenants().get(), "expire")
    assert answer.status_code == 200
    assert answer.context["form"].non_field_errors()


def test_a_name_that_is_no_label_is_refused_at_its_field(office, fleet_cluster):
    fill([fleet_cluster], tenants=1)
    answer = act(office, Device.objects.across_tenants().get(), "rename", name="Till 7")
    assert "name" in answer.context["form"].errors


def test_the_audit_is_verified_and_a_forged_event_found(office, transactional_db):
    from tenants import audit

    tenant = factories.tenant()
    credentials.issue(tenant, now=timezone.now(), actor="system:tests")
    audit.seal_all()
    assert "Every chain is whole" in office.post("/admin/tenants/auditevent/verify/").content.decode()
    with superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update tenants_auditevent set actor = 'operator:nobody' where verb = 'tenant.create'")
    assert "broken at position 1" in office.post("/admin/tenants/auditevent/verify/").content.decode()


def test_an_unknown_verb_or_row_is_not_found(office):
    tenant = factories.tenant()
    assert office.get(reverse("admin:tenants_tenant_act", args=[tenant.pk, "explode"])).status_code == 404
    assert office.get(f"/admin/tenants/tenant/{'0' * 8}-0000-0000-0000-{'0' * 12}/act/suspend/").status_code == 404


def test_a_group_is_made_changed_and_its_secrets_replaced_and_shown_once(office):
    tenant = factories.tenant()
    said = {
        "tenant": tenant.pk,
        "name": "tills",
        "allowed": "till-*\nkiosk-?",
        "lifetime_minutes": 30,
        "re_enrolment": "keep",
        "max_devices": 5,
    }
    shown = office.post("/admin/tenants/enrolmentgroup/add/", said)
    assert "no-store" in shown["Cache-Control"]
    secrets = re.findall(r"acs-group-[\w-]{43}", shown.content.decode())
    assert len(set(secrets)) == 2
    group = EnrolmentGroup.objects.of(tenant).select_related("key").get()
    assert (group.allowed, group.key.re_enrolment, group.key.max_devices) == (["till-*", "kiosk-?"], "keep", 5)
    assert group.key.key_lifetime == timedelta(minutes=30)
    act(office, group, "change", allowed="", denied="till-9", lifetime_minutes=10, re_enrolment="new", approval="on")
    group = EnrolmentGroup.objects.of(tenant).select_related("key").get()
    assert (group.allowed, group.denied, group.key.approval, group.key.max_devices) == ([], ["till-9"], True, None)
    replaced = act(office, group, "rotate-secondary").content.decode()
    [fresh] = re.findall(r"acs-group-[\w-]{43}", replaced)
    assert groups.secret_of(EnrolmentGroup.objects.of(tenant).get(), "secondary") == fresh not in secrets
    for page in ("change", "history"):
        assert fresh not in office.get(reverse(f"admin:tenants_enrolmentgroup_{page}", args=[group.pk]), follow=True).content.decode()
    act(office, group, "revoke")
    assert EnrolmentKey.objects.of(tenant).get(pk=group.pk).revoked_at is not None
    assert acts("enrolment_group.rotate") == ["operator:olga"]


def test_a_pattern_that_is_none_is_refused_at_its_field(office):
    said = {"tenant": factories.tenant().pk, "name": "tills", "allowed": "till 7", "lifetime_minutes": 30, "re_enrolment": "keep"}
    answer = office.post("/admin/tenants/enrolmentgroup/add/", said)
    assert "till 7" in answer.context["form"].errors["allowed"][0]


def test_devices_that_wait_are_accepted_or_refused_together(office):
    tenant, key = factories.tenant(), factories.customer().key
    for name in ("till-1", "till-2", "till-3"):
        enrolments.apply_for(tenant.pk, name, key_id=key.pk, hostname=name, os="linux", now=timezone.now())
    ids = list(Enrolment.objects.of(tenant).exclude(registration_id="till-3").values_list("pk", flat=True))
    page = "/admin/tenants/enrolment/"
    office.post(page, {"action": "accept", "_selected_action": ids, "confirmed": "1"}, follow=True)
    act(office, Enrolment.objects.of(tenant).get(registration_id="till-3"), "disable", reason="not ours")
    assert dict(Enrolment.objects.of(tenant).values_list("registration_id", "state")) == {
        "till-1": "enabled",
        "till-2": "enabled",
        "till-3": "disabled",
    }
    act(office, Enrolment.objects.of(tenant).get(registration_id="till-1"), "forget")
    assert Enrolment.objects.of(tenant).count() == 2


def test_a_route_is_approved_refused_and_left_undecided(office, fleet_cluster):
    with serving(fleet_cluster):
        fill([fleet_cluster], tenants=1)
        route = Route.objects.across_tenants().get()
        seen = []
        for verb, said in (("approve", {}), ("refuse", {"reason": "not here"}), ("withdraw", {})):
            act(office, route, verb, **said)
            route = Route.objects.across_tenants().get()
            seen.append((route.state, route.decided_by, route.reason))
    assert seen == [("approved", "operator:olga", ""), ("refused", "operator:olga", "not here"), ("waiting", "", "")]
    assert acts("route.approve") == acts("route.refuse") == acts("route.withdraw") == ["operator:olga"]


def test_a_route_that_another_tenant_has_is_refused_in_words(office, fleet_cluster):
    with serving(fleet_cluster):
        fill([fleet_cluster], tenants=2)
        first, second = Route.objects.across_tenants().order_by("pk")
        Route.objects.across_tenants().filter(pk=second.pk).update(prefix="10.0.7.0/24")
        act(office, first, "approve")
        assert "overlaps a route that is taken" in act(office, second, "approve").content.decode()


def test_tags_of_keys_groups_policies_and_devices_are_those_that_the_policy_declares(office, fleet_cluster):
    tenant = factories.tenant("acme-inc")
    factories.policy(tenant, "tag:web")
    key = {"tenant": str(tenant.pk), "lifetime_minutes": 60, "tags": "tag:web\ntag:other"}
    assert "tag:other" in office.post("/admin/tenants/enrolmentkey/add/", key).context["form"].errors["tags"][0]
    office.post("/admin/tenants/enrolmentkey/add/", {**key, "tags": "tag:web"})
    group = {"tenant": tenant.pk, "name": "tills", "lifetime_minutes": 30, "re_enrolment": "keep", "tags": "tag:web"}
    office.post("/admin/tenants/enrolmentgroup/add/", group)
    assert [key.tags for key in EnrolmentKey.objects.of(tenant)] == [["tag:web"]] * 2
    with serving(fleet_cluster):
        fill([fleet_cluster], tenants=1)
        device = Device.objects.across_tenants().get()
        assert "does not declare tag:web" in act(office, device, "set-tags", tags="tag:web").content.decode()
        assert "does not become untagged again" in act(office, device, "set-tags", tags="").content.decode()


def test_a_finding_shows_its_evidence_and_has_its_cluster_audited(office, fleet_cluster):
    fill([fleet_cluster], tenants=1)
    finding = AuditFinding.objects.across_tenants().get()
    page = office.get(reverse("admin:placement_auditfinding_change", args=[finding.pk])).content.decode()
    assert "// &lt;b&gt;mine&lt;/b&gt;" in page
    act(office, finding, "audit")
    assert acts("cluster.audit") == ["operator:olga"]


def test_a_trust_policy_is_made_changed_and_revoked(office):
    tenant = factories.tenant()
    said = {
        "tenant": tenant.pk, "name": "ci", "issuer": "https://issuer.example", "audience": "acs", "subject": "repo:acme/*", "claims": "{}",
        "registration_claim": "sub", "lifetime_minutes": 30, "ephemeral": "on",
    }  # fmt: skip
    wrong = office.post("/admin/tenants/trustpolicy/add/", {**said, "subject": "*"})
    assert wrong.context["form"].errors["subject"]
    office.post("/admin/tenants/trustpolicy/add/", said)
    policy = TrustPolicy.objects.of(tenant).get()
    act(office, policy, "change", **{**said, "subject": "repo:acme/app:*", "claims": '{"ref": "refs/heads/main"}'})
    policy = TrustPolicy.objects.of(tenant).select_related("key").get()
    assert (policy.subject, policy.claims, policy.key.ephemeral) == ("repo:acme/app:*", {"ref": "refs/heads/main"}, True)
    act(office, policy, "revoke")
    assert EnrolmentKey.objects.of(tenant).get(pk=policy.pk).revoked_at is not None


def test_a_peering_is_offered_accepted_and_ended_at_the_desk(office, fleet_cluster):
    host, guest = settled("acme", fleet_cluster), settled("globex", fleet_cluster)
    device(guest, "shop-1")
    said = {"host": str(host.pk), "guest": str(guest.pk), "dst": "tag:db", "services": "tcp:5432 443"}
    refused = office.post("/admin/tenants/peering/add/", said)
    assert refused.context["form"].errors["dst"] == ["Tag:db is no tag of this network."]
    office.post("/admin/tenants/peering/add/", {**said, "dst": "*\nautogroup:member"})
    row = Peering.objects.of(host).get()
    assert (row.dst, row.services, row.offered_by) == (["*", "autogroup:member"], ["443", "tcp:5432"], "operator:olga")
    assert "src" in act(office, row, "accept", src="nobody").context["form"].errors
    assert act(office, row, "accept", src="shop-1").status_code == 200
    assert Peering.objects.of(host).get().state == "accepted"
    act(office, row, "end")
    assert Peering.objects.of(host).get().ended_by == "operator:olga"
    assert acts("peering.end") == ["operator:olga"] * 2
    listed = office.get("/admin/tenants/peering/", {"account": "globex"})
    assert listed.context["cl"].result_count == 1


def test_tenants_apart_are_told_apart_at_the_desk(office, fleet_clusters):
    made = offered(settled("acme", fleet_clusters()), settled("globex", fleet_clusters()))
    answer = act(office, made, "accept", src="*")
    assert "Ask the operators to move acme" in answer.content.decode()
    assert Peering.objects.of(made.host).get().state == "offered"
