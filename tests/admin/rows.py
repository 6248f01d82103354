"""A fleet with something in every list of the operators' pages."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from placement.models import Binding, Device, Grant, LoadSample, PollRun, Slot, Watch
from tenants import audit, tokens
from tenants.models import Membership
from tests import factories


def fill(clusters, *, tenants: int, first: int = 0) -> None:
    """Each tenant with a binding, a key, a token, a member, and a slot with its grant and device; each cluster watched."""
    now = timezone.now()
    for cluster in clusters:
        Watch.objects.update_or_create(cluster=cluster.row, defaults={"complete_at": now, "attempted_at": now, "nodes": 3})
    for n in range(first, first + tenants):
        cluster = clusters[n % len(clusters)].row
        customer = factories.customer()
        tenant = customer.tenant
        tokens.issue(tenant, scopes=["auth_keys"], now=now, lifetime=timedelta(days=1), actor="system:tests")
        Membership.objects.create(tenant=tenant, user=User.objects.create(username=f"person-{n}"), role="owner")
        Binding.objects.create(tenant=tenant, cluster=cluster, headscale_user_id=n + 1, expected_load=5, reason="the emptiest")
        slot = Slot.objects.create(tenant=tenant, registration_id=f"till-{n}", taken_at=now)
        grant = Grant.objects.create(
            tenant=tenant, cluster=cluster, slot=slot, enrolment_key=customer.key, state="redeemed", request_digest=b"x" * 32, hostname=f"till-{n}",
            keyring_id="t1", key_prefix=f"prefix{n}", key_id=n + 1, created_at=now, expires_at=now + timedelta(hours=1), redeemed_at=now,
        )  # fmt: skip
        Device.objects.create(
            tenant=tenant, cluster=cluster, node_id=n + 1, slot=slot, grant=grant, machine_key=f"mkey:{n}", node_key=f"nodekey:{n}",
            ipv4=f"100.64.0.{n + 1}", hostname=f"till-{n}", name=f"till-{n}", online=n % 2 == 0, joined_at=now, seen_at=now,
        )  # fmt: skip
        PollRun.objects.create(cluster=cluster, started_at=now, seconds=0.1, outcome="ok", nodes=3, online=2)
        LoadSample.objects.create(
            cluster=cluster, at=now, sessions=2, cpu_seconds=1, memory_bytes=2**26, queue_depth=0, peer_calculations=1
        )
    audit.seal_all()
