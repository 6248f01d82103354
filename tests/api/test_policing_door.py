"""The policy of a cluster at operators' doors: the API, the command and the gauges say the same of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from acs import metrics, standings, tasks
from placement.models import Cluster, PolicyPush
from placement.policies import pushing, wishes
from tenants.models import AuditEvent
from tests.api.callers import operator, program_of, said
from tests.placement.policies.pushed import PolicyServer, allows, row, serving, settled, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def cluster(fleet_cluster: Any) -> Cluster:
    found: Cluster = fleet_cluster.row
    return found


@pytest.fixture
def server(fleet_cluster: Any) -> Iterator[PolicyServer]:
    with serving(fleet_cluster) as running:
        yield running


def test_the_api_tells_what_waits_and_what_runs_and_pushes_on_demand(cluster, server):
    chief = operator()
    assert chief.get(f"clusters/{cluster.pk}/policy").json()["running"] is None
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    done = pushing.push(cluster.pk, timezone.now())
    wishes.touch(cluster.pk, now=timezone.now())
    told = chief.get(f"clusters/{cluster.pk}/policy").json()
    assert (told["cluster_id"], told["waiting"], told["failures"], told["sure"]) == (cluster.pk, 1, 0, True)
    assert (told["running"]["id"], told["running"]["document"], told["running"]["versions"]) == (done.pk, done.document, {"acme": 1})
    server.policy = "{}"
    asked = chief.post(f"clusters/{cluster.pk}/policy", None)
    assert (asked.status_code, asked.json()["sure"], asked.json()["running"]["id"]) == (200, False, done.pk)
    assert AuditEvent.objects.across_tenants().get(verb="policy.push").target == cluster.pk
    pushing.push(cluster.pk, timezone.now())
    assert server.policy == done.document
    assert said(program_of(tenant).get(f"clusters/{cluster.pk}/policy")) == (404, "not-found")
    Cluster.objects.filter(pk=cluster.pk).update(state="offline")
    assert said(chief.post(f"clusters/{cluster.pk}/policy", None)) == (409, "wrong-state")


def test_the_command_shows_pushes_and_their_differences(cluster, server, capsys):
    tenant = settled(cluster, "acme", allows("a", "b"), "a", "b")
    call_command("policies", "now", cluster.pk)
    first = row(cluster).running
    write(tenant, allows("a", "b", 443))
    call_command("policies", "now", cluster.pk)
    second = row(cluster).running
    call_command("policies", "diff", str(second.pk))
    call_command("policies", "diff", str(second.pk), str(second.pk))
    shown = capsys.readouterr().out
    assert f"--- #{first.pk}" in shown
    assert '+  {"dst": ["100.64.0.2", "fd7a:115c:a1e0:1::2"], "ip": ["443"]' in shown
    assert "They are the same." in shown
    call_command("policies", "history", cluster.pk)
    call_command("policies", "status")
    told = capsys.readouterr().out
    assert second.digest[:12] in told
    assert f"#{second.pk}" in told
    server.stop()
    write(tenant, allows("a", "b", 80))
    with pytest.raises(CommandError, match=cluster.pk):
        call_command("policies", "now", cluster.pk)
    for words in (("now", "nowhere"), ("show", "99999999")):
        with pytest.raises(CommandError, match="There is no"):
            call_command("policies", *words)


def test_the_schedule_pushes_what_is_ripe_and_counts_it(cluster, server):
    settled(cluster, "acme", allows("a", "b"), "a", "b")
    later = timezone.now() - timedelta(seconds=2)
    type(row(cluster)).objects.filter(pk=cluster.pk).update(changed_at=later, wanted_at=later)
    gauges = {standing.name: standing.values for standing in standings.look(timezone.now())}
    assert gauges["acs_policy_waiting"] == [((), 1)]
    assert gauges["acs_policy_age_seconds"][0][1] >= 2
    tasks.push_cluster(cluster.pk)
    tasks.look_at_policies()
    tasks.push_cluster(cluster.pk)
    counted = {name: metrics.PUSHES.labels(name, cluster.pk)._value.get() for name in ("stored", "unchanged")}
    assert counted == {"stored": 1, "unchanged": 1}
    assert PolicyPush.objects.count() == 1
