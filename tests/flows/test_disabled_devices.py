"""A device that an admin disables: what it was given and did not use is worth nothing any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from acs.sweep import sweep
from placement import lineup
from placement.models import Grant
from tenants import enrolments
from tenants.models import Quota
from tests.flows.test_signed_bootstrap import ACTED, Fleet

pytestmark = pytest.mark.django_db


def ends(grant: Grant) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("select expiration from headscale.pre_auth_keys where id = %s", [grant.key_id])
        return cursor.fetchone()[0]


def test_the_unused_key_of_a_disabled_device_is_expired_and_its_neighbours_are_not(fleet_cluster: Any) -> None:
    fleet = Fleet()
    for device in ("till-7", "till-8"):
        assert fleet.ask(device).status_code == 200
    enrolments.put(fleet.tenant, "Till-7", state="disabled", now=timezone.now(), **ACTED)
    sweep(fleet_cluster.cluster_id, now=timezone.now())
    grants = {grant.slot.registration_id: grant for grant in Grant.objects.of(fleet.tenant).select_related("slot")}
    assert (grants["till-7"].state, grants["till-8"].state) == ("expired", "issued")
    assert ends(grants["till-7"]) <= timezone.now() < ends(grants["till-8"]) - timedelta(minutes=50)


def test_a_disabled_device_loses_its_place_in_the_queue(fleet_cluster: Any) -> None:
    fleet, now = Fleet(), timezone.now()
    for device in ("till-7", "till-8"):
        assert fleet.ask(device).status_code == 200
    Grant.objects.of(fleet.tenant).update(state="queued", key_id=None, issued_at=None, asked_at=now)
    first = lineup.first(fleet_cluster.cluster_id, now=now)
    assert first is not None
    assert first.slot.registration_id == "till-7"
    enrolments.put(fleet.tenant, "till-7", state="disabled", now=now, **ACTED)
    following = lineup.first(fleet_cluster.cluster_id, now=now)
    assert following is not None
    assert following.slot.registration_id == "till-8"
    assert lineup.forget(following.cluster, now=now) == 1
    assert Quota.objects.get(tenant=fleet.tenant).used == 1
