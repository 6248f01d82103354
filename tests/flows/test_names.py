"""Permanent names from the first day: the whole service beside a real HAProxy with a CA of the tests' own."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest

from acs import tasks
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.gateway.conftest import DOMAIN, Haproxy
from tests.live import run, run_web, wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.haproxy]


def test_the_first_device_is_told_its_tenants_own_name_and_the_gateway_leads_there(db, tmp_path, settings):
    customer, folder = factories.customer("acme-inc"), tmp_path / "haproxy"
    folder.mkdir()
    with ExitStack() as stack:
        gateway = Haproxy(folder).start()
        stack.callback(gateway.kill)
        environment = {"ACS_TENANT_DOMAIN": DOMAIN, "ACS_GATEWAY_SOCKETS": gateway.socket}
        stack.enter_context(serve_cluster(tmp_path / "a", real=False))
        celery = [sys.executable, "-m", "celery", "-A", "acs.celery", "worker", "--loglevel", "WARNING", "--pool", "solo"]
        stack.enter_context(run(celery, tmp_path / "worker.log", role="worker", **environment))
        service = stack.enter_context(run_web(tmp_path, workers=1, **environment))
        settings.TENANT_DOMAIN, settings.GATEWAY_SOCKETS = DOMAIN, [gateway.socket]
        tasks.sync_routes()  # what the schedule does every ten seconds: a gateway that has just started learns that it knows all names
        answer = service.bootstrap(customer.secret)
        host = f"acme-inc.{DOMAIN}"
        assert answer.body["headscale_url"] == f"https://{host}"
        assert "log in again" not in answer.body["note"]
        for tls in (True, False):
            wait_for(
                lambda tls=tls: gateway.ask(host, "/key?v=113", tls=tls)[0] == 200,
                "the name leads to the cluster",
                log=tmp_path / "worker.log",
            )
        assert "mkey:" in gateway.ask(host, "/key?v=113", tls=True)[1]
        assert gateway.ask(f"nobody.{DOMAIN}", "/key?v=113")[0] == 404
        assert gateway.ask(host, "/api/v1/node", tls=True)[0] == 403

        gateway.kill()
        gateway.start()
        assert gateway.ask(host, "/key?v=113")[0] == 503
        tasks.sync_routes()
        assert gateway.ask(host, "/key?v=113", tls=True)[0] == 200
