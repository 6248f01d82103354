"""Two tenants on a cluster, with devices and policies, as tests of peerings want them."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from django.utils import timezone

from placement.models import Binding, Device
from placement.policies import gathering, peerings
from placement.policies.compiling import Compiled, compile_cluster
from tenants.models import NetworkPolicy, Peering, PolicyVersion, Tenant
from tests import factories

serial = itertools.count(1)
OFFICE = '{"groups": {"group:desk": ["till-1"], "group:none": []}, "tagOwners": {"tag:db": ["autogroup:member"]}}'
BY_OPERATOR = {"actor": "operator:olga"}


def settled(account: str, cluster: Any = None, *, policy: str = "", **plan_fields: Any) -> Tenant:
    """A tenant with this policy that lives on the cluster, or nowhere."""
    tenant = factories.tenant(account, **plan_fields)
    if cluster is not None:
        Binding.objects.create(tenant=tenant, cluster=cluster.row, headscale_user_id=next(serial), expected_load=5, reason="test")
    if policy:
        put_policy(tenant, policy)
    return tenant


def put_policy(tenant: Tenant, text: str) -> None:
    number = PolicyVersion.objects.of(tenant).count() + 1
    digest = hashlib.sha256(text.encode()).hexdigest()
    version = PolicyVersion.objects.create(tenant=tenant, number=number, text=text, digest=digest, author="x", created_at=timezone.now())
    NetworkPolicy.objects.of(tenant).update_or_create(tenant=tenant, defaults={"current": version})


def device(of: Tenant, name: str, *, tags: tuple[str, ...] = (), **fields: Any) -> Device:
    """One that joined: `tags` in the tenant's own words."""
    number, now = next(serial), timezone.now()
    return Device.objects.create(
        tenant=of,
        cluster=Binding.objects.of(of).select_related("cluster").get().cluster,
        node_id=number,
        machine_key=f"mkey:{number}",
        node_key=f"nodekey:{number}",
        ipv4=f"100.64.{number // 250}.{number % 250 + 1}",
        ipv6=f"fd7a:115c:a1e0::{number:x}",
        name=name,
        hostname=name,
        tags=[f"tag:{of.account}--{tag.removeprefix('tag:')}" for tag in tags],
        joined_at=now,
        seen_at=now,
        **fields,
    )


def offered(host: Tenant, guest: Tenant, *dst: str, services: tuple[str, ...] = ("*",), **more: Any) -> Peering:
    told: dict[str, Any] = {"dst": dst or ("*",), "services": services, "now": timezone.now(), **BY_OPERATOR, **more}
    return peerings.offer(host, guest.account, **told)


def accepted(host: Tenant, guest: Tenant, *dst: str, src: tuple[str, ...] = ("*",), **more: Any) -> Peering:
    return peerings.accept(offered(host, guest, *dst, **more), src, now=timezone.now(), **BY_OPERATOR)


def compiled(cluster: Any) -> Compiled:
    return compile_cluster(gathering.gather(cluster.cluster_id).fact)


def statements(cluster: Any) -> list[Any]:
    """What peerings say in the cluster's document."""
    return [statement for statement in compiled(cluster).statements if statement.peering]
