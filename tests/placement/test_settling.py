"""A key that was ended is proven unused only by a look that began after its end, however early whoever ended it had begun."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from placement import grants, settling, standing
from placement.models import Grant
from tenants.models import EnrolmentKey
from tests import factories
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("by", ["the door", "the sweeper"])
def test_a_look_from_before_the_end_settles_nothing(fleet_cluster: Any, by: str) -> None:
    customer = factories.customer()
    assert bootstrap(customer.secret, {"registration_id": "a"}).status_code == 200
    [grant], digest = Grant.objects.of(customer.tenant), bytes(EnrolmentKey.objects.of(customer.tenant).get().digest)
    began = timezone.now() - timedelta(seconds=5)
    if by == "the sweeper":
        settling.mark_retired(fleet_cluster.cluster_id, [grant.key_id], now=began)
    else:
        with transaction.atomic():
            who = standing.look_up(digest=digest, account="", idempotency_key=None, registration_id="a", now=began)
            grants.retire(who.live, who, now=began)
    unused = {grant.key_id: settling.KeyFact(used=False, expiration=began)}
    settling.settle(fleet_cluster.row, unused, seen_from=timezone.now() - timedelta(seconds=2), now=timezone.now())
    assert Grant.objects.of(customer.tenant).get().settled_at is None
    settling.settle(fleet_cluster.row, unused, seen_from=timezone.now() + timedelta(seconds=1), now=timezone.now())
    assert Grant.objects.of(customer.tenant).get().settled_at is not None
