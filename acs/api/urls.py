"""Every address under /api/v1."""

from django.urls import path

from acs.api import derp, diagnosing, enrolling, living, peering, placing, tenants, trusting
from acs.api.bootstrap import BootstrapView

of = "tenants/<slug:account>"
urlpatterns = [
    path("bootstrap", BootstrapView.as_view()),
    path("bootstrap/report", diagnosing.BootstrapReport.as_view()),
    path("derp/<slug:cluster_id>.json", derp.DerpMapView.as_view()),
    path("plans", tenants.Plans.as_view()),
    path("tenants", tenants.Tenants.as_view()),
    path(of, tenants.OneTenant.as_view()),
    *[path(f"{of}/{verb}", tenants.TenantState.as_view(verb=verb)) for verb in tenants.TenantState.verbs],
    path(f"{of}/quota", tenants.QuotaOf.as_view()),
    path(f"{of}/enrolment-keys", enrolling.EnrolmentKeys.as_view()),
    path(f"{of}/enrolment-keys/<uuid:key_id>", enrolling.OneEnrolmentKey.as_view()),
    path(f"{of}/enrolment-groups", enrolling.EnrolmentGroups.as_view()),
    path(f"{of}/enrolment-groups/<uuid:group_id>", enrolling.OneEnrolmentGroup.as_view()),
    path(f"{of}/enrolment-groups/<uuid:group_id>/rotate", enrolling.RotateEnrolmentGroup.as_view()),
    path(f"{of}/enrolments", enrolling.Enrolments.as_view()),
    path(f"{of}/enrolments/<str:registration_id>", enrolling.OneEnrolment.as_view()),
    path(f"{of}/enrolments/<str:registration_id>/timeline", diagnosing.Timeline.as_view()),
    path(f"{of}/enrolments/<str:registration_id>/report", diagnosing.ReportOf.as_view()),
    path(f"{of}/trust-policies", trusting.TrustPolicies.as_view()),
    path(f"{of}/trust-policies/<uuid:policy_id>", trusting.OneTrustPolicy.as_view()),
    path(f"{of}/api-tokens", tenants.ApiTokens.as_view()),
    path(f"{of}/api-tokens/<uuid:token_id>", tenants.OneApiToken.as_view()),
    path(f"{of}/audit", tenants.Audit.as_view()),
    path(f"{of}/devices", living.Devices.as_view()),
    path(f"{of}/devices/<uuid:device_id>", living.OneDevice.as_view()),
    path(f"{of}/devices/<uuid:device_id>/timeline", diagnosing.DeviceTimeline.as_view()),
    path(f"{of}/devices/<uuid:device_id>/expire", living.ExpireDevice.as_view()),
    path(f"{of}/grants", living.Grants.as_view()),
    path(f"{of}/binding", living.BindingOf.as_view()),
    path("peerings", peering.Peerings.as_view()),
    path("peerings/<uuid:peering_id>", peering.OnePeering.as_view()),
    path("peerings/<uuid:peering_id>/accept", peering.AcceptPeering.as_view()),
    path("peerings/<uuid:peering_id>/end", peering.EndPeering.as_view()),
    path("bindings", living.Bindings.as_view()),
    path("clusters", living.Clusters.as_view()),
    path("clusters/<slug:cluster_id>", living.OneCluster.as_view()),
    path("placement/pools", placing.Pools.as_view()),
    path("placement/decisions", placing.Decisions.as_view()),
    path("placement/decisions/<uuid:decision_id>", placing.OneDecision.as_view()),
    path("placement/waiting", placing.WaitingTenants.as_view()),
    path("placement/alerts", placing.Alerts.as_view()),
    path("placement/plans", placing.Plans.as_view()),
    path("placement/plans/<uuid:plan_id>", placing.OnePlan.as_view()),
    path("placement/simulations", placing.Simulations.as_view()),
    path("placement/regions", placing.Regions.as_view()),
]
