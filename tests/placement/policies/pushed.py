"""A cluster with tenants and a server that stores policies, refuses what a test tells it to refuse, and falls silent where a test wants it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.utils import timezone

from placement.clusters import seal_key
from placement.models import Binding, Cluster, ClusterPolicy, Device, PolicyPush
from placement.policies import wishes
from tenants.models import NetworkPolicy, PolicyVersion, Tenant
from tests import factories
from tests.conftest import FleetCluster, url_as
from tests.fakes.headscale_http import FakeHeadscale

NOTHING = 0  # the status of no answer at all


class PolicyServer(FakeHeadscale):
    """`refuses` says why a document is refused, in check and PUT. `before_put` happens before a document is stored; `silence`: after it, or before."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str], str] = lambda _: ""
        self.before_put: Callable[[], object] = lambda: None
        self.silence = ""
        self.checks: list[str] = []
        self.gets = 0

    def _api(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/api/v1/policy/check":
            self.checks.append(body["policy"])
            return _refusal(400, reason) if (reason := self.refuses(body["policy"])) else (200, {})
        if path == "/api/v1/policy" and method == "GET":
            self.gets += 1
            if self.silence == "always":
                return NOTHING, ""
        if path == "/api/v1/policy" and method == "PUT":
            return self._put(body["policy"])
        return super()._api(method, path, body)

    def _put(self, document: str) -> tuple[int, Any]:
        self.before_put()
        if self.silence == "before":
            return NOTHING, ""
        if reason := self.refuses(document):
            return _refusal(500, f"setting policy: {reason}")
        answer = super()._store_policy(document)
        return (NOTHING, "") if self.silence else answer

    def _handler(self) -> Any:
        handler = super()._handler()
        answer = handler._answer  # type: ignore[attr-defined]

        def answer_or_not(request: Any, status: int, body: Any) -> None:
            if status == NOTHING:
                request.close_connection = True
                request.connection.close()
            else:
                answer(request, status, body)

        handler._answer = answer_or_not  # type: ignore[attr-defined]
        return handler


def _refusal(status: int, reason: str) -> tuple[int, Any]:
    return status, {"code": 3, "message": reason, "details": []}


@contextmanager
def serving(cluster: FleetCluster) -> Iterator[PolicyServer]:
    """The cluster with such a server behind its admin API."""
    with PolicyServer().running() as server, psycopg.connect(url_as("acs_owner"), autocommit=True) as owner:
        owner.execute(
            "update placement_cluster set admin_url = %s, admin_key_sealed = %s where cluster_id = %s",
            [server.url, seal_key(cluster.cluster_id, server.key), cluster.cluster_id],
        )
        yield server


def settled(cluster: Cluster, account: str, text: str = "", *devices: str) -> Tenant:
    """A tenant of the cluster with devices and, where a text is given, its policy; a wish for a push."""
    tenant = factories.tenant(account)
    Binding.objects.create(tenant=tenant, cluster=cluster, headscale_user_id=1, expected_load=1, reason="test")
    for name in devices:
        add_device(tenant, cluster, name)
    if text:
        write(tenant, text)
    wishes.touch(cluster.pk, now=timezone.now())
    return tenant


def add_device(tenant: Tenant, cluster: Cluster, name: str) -> Device:
    number = Device.objects.across_tenants().count() + 1
    now = timezone.now()
    return Device.objects.create(
        tenant=tenant, cluster=cluster, node_id=number, machine_key=f"m{number}", node_key=f"n{number}", name=name, hostname=name,
        ipv4=f"100.64.0.{number}", ipv6=f"fd7a:115c:a1e0:1::{number:x}", joined_at=now, seen_at=now,
    )  # fmt: skip


def write(tenant: Tenant, text: str) -> PolicyVersion:
    """A version of the tenant's policy that was stored whatever it says."""
    number = PolicyVersion.objects.of(tenant).count() + 1
    version = PolicyVersion.objects.create(
        tenant=tenant, number=number, text=text, digest=str(number), author="tests", created_at=timezone.now()
    )
    NetworkPolicy.objects.across_tenants().update_or_create(tenant=tenant, defaults={"current": version})
    if (cluster_id := Binding.objects.of(tenant).values_list("cluster_id", flat=True).first()) is not None:
        wishes.touch(cluster_id, now=timezone.now())
    return version


def allows(src: str, dst: str, port: int = 22, **more: Any) -> str:
    """A policy with one rule."""
    return json.dumps({"acls": [{"action": "accept", "src": [src], "dst": [f"{dst}:{port}"]}], **more})


def row(cluster: Cluster) -> ClusterPolicy:
    return ClusterPolicy.objects.select_related("running").get(pk=cluster.pk)


def pushes(cluster: Cluster) -> list[tuple[str, str]]:
    """State and reason of each push, in order."""
    return list(PolicyPush.objects.filter(cluster=cluster).order_by("id").values_list("state", "reason"))


def running_number(tenant: Tenant) -> int | None:
    return NetworkPolicy.objects.of(tenant).values_list("running__number", flat=True).get()
