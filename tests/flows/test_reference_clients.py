"""The clients that ship, against the running service; and the published vectors, against the code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from placement.models import NetReport, Slot
from tenants import groups, signing
from tenants.models import Enrolment, EnrolmentGroup
from tests import factories
from tests.conftest import ROOT
from tests.live import run_web

CLIENTS = {"python": [sys.executable, "clients/acs_bootstrap.py"], "shell": ["sh", "clients/acs-bootstrap.sh"]}
VECTORS = json.loads((ROOT / "clients/vectors.json").read_text())


def run(*words):
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["registration_id"] for vector in VECTORS])
def test_the_published_vectors_hold(vector):
    def mac(key, text):
        return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()

    assert mac(vector["secret"], vector["registration_id"].lower()) == vector["device_key"]
    assert mac(vector["device_key"], vector["text"]) == vector["signature"]
    fields = {name: vector[name] for name in ("method", "path", "timestamp", "nonce", "group", "registration_id")}
    assert signing.canonical(**fields, body=vector["body"].encode()).decode() == vector["text"]
    assert signing.derive_key(vector["secret"], vector["registration_id"]) == vector["device_key"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
def test_both_clients_are_admitted_wait_and_are_refused(fleet_cluster, tmp_path):
    tenant = factories.tenant("acme-inc", max_devices=10)
    told = dict(line.split() for line in run("enrolment_group", "make", "acme-inc", "tills", "--allow", "till-*").splitlines())
    with run_web(tmp_path, workers=1) as service:

        def ask(client, device, key=None):
            key = key or run("derive_key", "--group", "acme-inc", "tills", device).split()[1]
            done = subprocess.run(
                [*CLIENTS[client], service.url, told["group"], device, "till"], cwd=ROOT, env={**os.environ, "ACS_DEVICE_KEY": key},
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            return done.returncode, json.loads(done.stdout), done.stderr

        for client in CLIENTS:
            status, answer, errors = ask(client, f"Till-{client}")
            assert (status, answer.get("auth_mode")) == (0, "authkey"), (answer, errors)
            assert "--hostname=till" in answer["command"]
            assert ask(client, "laptop")[:2][0] == 1
            assert ask(client, f"till-{client}", key="wrong")[1]["code"] == "bad-credential"
        run("enrolment_group", "change", "acme-inc", "tills", "--approval")
        for client in CLIENTS:
            status, answer, errors = ask(client, f"till-{client}-2")
            assert (status, answer["code"]) == (75, "approval-pending")
            assert "again in" in errors
            run("enrolment", "accept", "acme-inc", f"till-{client}-2")
            assert ask(client, f"till-{client}-2")[0] == 0
    assert Slot.objects.of(tenant).count() == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
def test_a_device_reports_what_stands_in_its_way(fleet_cluster, tmp_path):
    customer = factories.customer("acme-inc")
    told = dict(line.split() for line in run("enrolment_group", "make", "acme-inc", "tills").splitlines())
    with run_web(tmp_path, workers=1) as service:

        def report(group, login_server, **secrets):
            # no tailscale on PATH: its netcheck would ask the world
            words = [sys.executable, "clients/acs_report.py", service.url, group, "till-7", login_server]
            done = subprocess.run(
                words,
                cwd=ROOT,
                env={**os.environ, "PATH": str(tmp_path), **secrets},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            stored = NetReport.objects.of(customer.tenant).filter(registration_id="till-7").first()
            return done.returncode, stored.told if stored else {}

        key = run("derive_key", "--group", "acme-inc", "tills", "till-7").split()[1]
        assert report(told["group"], service.url, ACS_DEVICE_KEY="wrong") == (1, {})
        status, kept = report(told["group"], service.url, ACS_DEVICE_KEY=key)
        assert (status, kept["dns"], kept["tcp"], abs(kept["clock_off"]) < 5) == (0, "ok", "ok", True)
        status, kept = report("-", "https://127.0.0.1:1", ACS_ENROLMENT_KEY=customer.secret)
        assert (status, kept["dns"], "refused" in kept["tcp"], "tls" in kept) == (0, "ok", True, False)
        status, kept = report("-", service.url.replace("http://", "https://"), ACS_ENROLMENT_KEY=customer.secret)
        assert (status, kept["tls"] != "ok") == (0, True)
        status, kept = report("-", "https://no-such-name.invalid", ACS_ENROLMENT_KEY=customer.secret)
        assert (status, kept["dns"] != "ok", "tcp" in kept) == (0, True, False)


@pytest.mark.django_db
def test_groups_through_their_commands():
    factories.tenant("acme-inc")
    run("enrolment_group", "make", "acme-inc", "tills", "--max-devices", "3", "--key-lifetime", "30m")
    assert "tills" in run("enrolment_group", "list", "acme-inc")
    group = EnrolmentGroup.objects.across_tenants().get()
    before = run("derive_key", "--group", "acme-inc", "tills", "till-7")
    fresh = run("enrolment_group", "rotate", "acme-inc", "tills", "primary").split()[1]
    assert groups.secret_of(EnrolmentGroup.objects.across_tenants().get(), "primary") == fresh
    assert run("derive_key", "--group", "acme-inc", "tills", "till-7") != before
    run("enrolment_group", "revoke", "acme-inc", "tills")
    for words in (["rotate", "acme-inc", "tills", "primary"], ["make", "acme-inc", "tills"], ["change", "acme-inc", "nothing"]):
        with pytest.raises(CommandError):
            run("enrolment_group", *words)
    assert group.key.max_devices == 3


@pytest.mark.django_db
def test_single_enrolments_through_their_command():
    tenant = factories.tenant("acme-inc")
    run("enrolment", "disable", "acme-inc", "Till-7", "--reason", "lost in March")
    assert "lost in March" in run("enrolment", "list", "acme-inc", "--state", "disabled")
    run("enrolment", "accept", "acme-inc", "till-7")
    run("enrolment", "enable", "acme-inc", "till-8")
    assert set(Enrolment.objects.of(tenant).values_list("registration_id", "state")) == {("till-7", "enabled"), ("till-8", "enabled")}
    run("enrolment", "forget", "acme-inc", "till-7")
    with pytest.raises(CommandError):
        run("enrolment", "accept", "acme-inc", "till-7")
    with pytest.raises(CommandError):
        run("enrolment", "enable", "acme-inc", "bad id")
    assert timezone.now() > Enrolment.objects.of(tenant).get().created_at
