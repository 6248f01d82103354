"""Online time of a device on a running server: it joins, its server restarts, nobody's time ends by that; a clock that is ahead is not believed."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from acs.poll import poll
from billing.metering import usage
from billing.models import Coverage, OpenSession
from placement.models import PollRun, Watch
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.doors import bootstrap
from tests.live import wait_for
from tests.servers import machine, run_headscale, run_simulator

pytestmark = pytest.mark.django_db(transaction=True)
BOTH = [pytest.param(False), pytest.param(True, marks=[pytest.mark.headscale, pytest.mark.tailscale])]


def look(cluster_id: str, seconds: int = 0, **facts) -> PollRun:
    """A poll so many seconds from now, however recent the last one."""
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    return poll(cluster_id, now=timezone.now() + timedelta(seconds=seconds), **facts)


@pytest.mark.parametrize("real", BOTH)
def test_a_restart_of_its_server_does_not_end_a_devices_time(real, tmp_path):
    customer, began = factories.customer(), timezone.now()
    with serve_cluster(tmp_path / "a", real=real) as (cluster_id, server), machine(server, tmp_path / "till") as till:
        till.join(bootstrap(customer.secret).json()["auth_key"], "till")
        wait_for(lambda: look(cluster_id).online == 1, "it is online")
        first = look(cluster_id, 30)
        second = look(cluster_id, 60)
        lasted = int((second.started_at - first.started_at).total_seconds())
        assert look(cluster_id, 90, truly=timezone.now()).outcome == "suspect"
        time.sleep(2.5)  # starts that differ by less are the noise of a clock
    with (run_headscale if real else run_simulator)(tmp_path / "a"):
        assert look(cluster_id, 120).online == 0
    assert list(Coverage.objects.filter(cluster_id=cluster_id).values_list("restarted", flat=True))[-1]
    doubtful = OpenSession.objects.of(customer.tenant).get()
    assert doubtful.certain_until is not None, "one device alone: the server's start told it"
    used = usage.used(customer.tenant, began - timedelta(days=1), began + timedelta(days=1))
    assert used.active_devices == 1
    assert used.device_seconds >= lasted
