"""A served cluster with tenants and devices for audits: the ground of this folder's tests on the simulator and on headscale."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from placement import devices
from placement.clusters import seal_key
from placement.headscale.admin import Admin, Node
from placement.models import AuditFinding, Binding, Cluster, Device
from placement.policies import auditing, pushing, wishes
from placement.policies.auditing import Audit
from tenants.models import Tenant
from tests import factories
from tests.servers import Machine, Server, machine

serial = itertools.count(1)


@dataclass
class Ground:
    """One cluster. Its server outlives the test; what the test made on it does not."""

    cluster: Cluster
    server: Server
    admin: Admin
    folder: Path
    machines: dict[int, Machine] = field(default_factory=dict)
    running: ExitStack = field(default_factory=ExitStack)

    def tenant(self, name: str, *tags: str, **sections: Any) -> Tenant:
        """A tenant that lives here, its user on the server; with `tags` or `sections`, its policy."""
        made = factories.tenant(f"{name}{next(serial)}")
        user = self.admin.make_user(made.account)
        Binding.objects.create(tenant=made, cluster=self.cluster, headscale_user_id=user.id, expected_load=1, reason="test")
        if tags or sections:
            factories.policy(made, *tags, **sections)
        return made

    def device(self, of: Tenant, name: str, *, tags: tuple[str, ...] = (), routes: tuple[str, ...] = ()) -> Device:
        """A device that joined, and that ACS has seen. `tags` in the server's words."""
        user = Binding.objects.of(of).get().headscale_user_id
        key = self.admin.make_key(user, datetime.now(UTC) + timedelta(hours=1), tags=tags)
        joined = self.running.enter_context(machine(self.server, self.folder / f"m{next(serial)}"))
        joined.join(key.secret or "", name, routes=routes)
        self.observe()
        found = Device.objects.of(of).order_by("node_id").last()
        assert found is not None
        self.machines[found.node_id] = joined
        return found

    def observe(self) -> None:
        now = timezone.now()
        devices.observe(self.cluster.pk, [devices.sighting_of(one) for one in self.admin.nodes()], seen_at=now, now=now, complete=True)

    def push(self) -> None:
        """What the tenants wish for, now."""
        now = timezone.now()
        wishes.touch(self.cluster.pk, now=now)
        done = pushing.push(self.cluster.pk, now)
        assert done is not None
        assert done.state == "stored"

    def wish_is_done(self) -> None:
        """The push that an audit asked for."""
        done = pushing.push(self.cluster.pk, timezone.now())
        assert done is None or done.state == "stored"

    def audit(self) -> Audit:
        return auditing.audit(self.cluster.pk, timezone.now())

    def node(self, of: Device) -> Node:
        return self.admin.node(of.node_id)

    def clear(self) -> None:
        self.running.close()
        for one in self.admin.nodes():
            self.admin.delete_node(one.id)
        for user in self.admin.users():
            self.admin.delete_user(user.id)


def told(done: Audit) -> list[tuple[str, str]]:
    """Kind and subject of what an audit found."""
    return sorted((found.kind, found.subject) for found in done.found)


def repairs(done: Audit) -> set[str]:
    return {found.repair for found in done.found}


def open_kinds(cluster: Cluster) -> list[str]:
    return sorted(AuditFinding.objects.across_tenants().filter(cluster=cluster, over_at=None).values_list("kind", flat=True))


@contextmanager
def ground(server: Server, row: Callable[[], Cluster], folder: Path) -> Iterator[Ground]:
    """The cluster `row` with this server behind it, registered."""
    cluster = row()
    with server.admin(cluster.pk) as admin:
        Cluster.objects.filter(pk=cluster.pk).update(
            admin_url=server.url,
            metrics_url=server.metrics_url,
            admin_key_sealed=seal_key(cluster.pk, server.api_key),
            registered_at=timezone.now(),
            state="active",
        )
        cluster = Cluster.objects.select_related("fleet").get(pk=cluster.pk)
        made = Ground(cluster, server, admin, folder)
        try:
            yield made
        finally:
            made.clear()
