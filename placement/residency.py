"""Where a tenant's data must stay: changed only to what the cluster that it lives on keeps. Elsewhere it has to move first."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from placement.models import Binding, Cluster
from tenants import lifecycle
from tenants.errors import WrongState
from tenants.models import Tenant


@transaction.atomic
def change(tenant: Tenant, residency: str, *, actor: str, now: datetime) -> Tenant:
    """Both rows stay locked, so that the tenant is bound nowhere and its cluster changes nothing meanwhile. Raises: MalformedRequest, WrongState."""
    Tenant.objects.select_for_update(of=("self",)).get(pk=tenant.pk)
    home = Binding.objects.of(tenant).values_list("cluster_id", flat=True).first()
    if residency and home is not None:
        cluster = Cluster.objects.select_for_update(of=("self",), no_key=True).get(pk=home)
        if cluster.residency != residency:
            why = (
                _("the tenant lives on %(cluster)s, which keeps the residency %(residency)s: it has to move to another cluster first")
                if cluster.residency
                else _("the tenant lives on %(cluster)s, which keeps no residency: it has to move to another cluster first")
            )
            raise WrongState(why % {"cluster": home, "residency": cluster.residency})
    return lifecycle.change_residency(tenant, residency, actor=actor, now=now)
