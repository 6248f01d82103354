"""A cluster's states, and the way to its admin API. Registration, which makes it serve, is placement/registration.py.

active takes new tenants; cordoned keeps its own; draining is being emptied; offline is neither polled nor asked. Each verb changes the state
once, conditionally, with its audit event. The acting person is `actor`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from placement.headscale.admin import Admin
from placement.models import Cluster
from tenants import audit
from tenants.errors import WrongState

State = Cluster.State


def admin_of(cluster: Cluster, *, timeout: float | None = None) -> Admin:
    """The admin API of a cluster, for `with`; a call of it takes ACS_CLUSTER_TIMEOUT at most. Raises: tenants.keyring.Unsealable."""
    key = settings.KEYRING.open(cluster.admin_key_sealed, context=key_context(cluster.cluster_id))
    return Admin(cluster.cluster_id, cluster.admin_url, key, timeout=settings.CLUSTER_TIMEOUT if timeout is None else timeout)


def seal_key(cluster_id: str, key: str) -> str:
    """An admin key as the row keeps it."""
    return str(settings.KEYRING.seal(key, context=key_context(cluster_id)))


def key_context(cluster_id: str) -> str:
    return f"placement_cluster:{cluster_id}:admin_key"


def cordon(cluster: Cluster, *, actor: str, now: datetime) -> None:
    """No new tenants. Raises: WrongState unless active or draining."""
    _become(cluster, State.CORDONED, "cluster.cordon", of=(State.ACTIVE, State.DRAINING), actor=actor, now=now)


def uncordon(cluster: Cluster, *, actor: str, now: datetime) -> None:
    """New tenants again. Raises: WrongState unless cordoned or draining."""
    _become(cluster, State.ACTIVE, "cluster.uncordon", of=(State.CORDONED, State.DRAINING), actor=actor, now=now)


def drain(cluster: Cluster, *, actor: str, now: datetime) -> None:
    """No new tenants, and its own are to move away. Raises: WrongState unless active or cordoned."""
    _become(cluster, State.DRAINING, "cluster.drain", of=(State.ACTIVE, State.CORDONED), actor=actor, now=now)


def offline(cluster: Cluster, *, actor: str, now: datetime) -> None:
    """Leave it alone: no polls, no tenants. `registration.register` brings it back. Raises: WrongState when offline already."""
    _become(cluster, State.OFFLINE, "cluster.offline", of=(State.ACTIVE, State.CORDONED, State.DRAINING), actor=actor, now=now)


@transaction.atomic
def _become(cluster: Cluster, state: State, verb: str, *, of: Iterable[State], actor: str, now: datetime) -> None:
    if Cluster.objects.filter(pk=cluster.pk, state__in=list(of)).update(state=state) != 1:
        present = Cluster.objects.values_list("state", flat=True).get(pk=cluster.pk)
        back = _("; `manage.py cluster register` brings it back") if present == State.OFFLINE and state != State.OFFLINE else ""
        raise WrongState(_("%(cluster)s is %(state)s") % {"cluster": cluster.cluster_id, "state": State(present).label} + back)
    audit.record(verb, actor=actor, tenant=None, target=cluster.cluster_id, now=now)
    cluster.state = state
