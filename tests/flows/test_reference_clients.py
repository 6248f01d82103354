"""The clients that ship, against the running service; and the published vectors, against the code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
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

SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]
CLIENTS = {"python": [sys.executable, "clients/acs_bootstrap.py"], **{shell: [shell, "clients/acs-bootstrap.sh"] for shell in SHELLS}}
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


PROGRAMS = ("openssl", "curl", "printf", "cut", "tr", "sed", "cat", "mktemp", "rm", "date")
NOTED = """#!/bin/sh
{ echo "$0 $*"; env | grep ^ACS_; } >>"$NOTES"
"""


def noting(folder, **instead):
    """PATH and notes of programs that write down their arguments and environment, and go on as the real ones, or do what is said instead."""
    folder.mkdir()
    for program in PROGRAMS:
        page = folder / program
        page.write_text(NOTED + instead.get(program, "") + f'exec {shutil.which(program)} "$@"\n')
        page.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "NOTES": str(folder / "notes")}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector["body"]], ids=lambda vector: vector["registration_id"])
def test_the_shell_client_signs_as_published_and_shows_no_secret_to_the_machines_other_users(vector, shell, tmp_path):
    sent = tmp_path / "sent"
    aside = noting(
        tmp_path / "programs",
        date=f"echo {vector['timestamp']}; exit\n",
        openssl=f'[ "$1" != rand ] || {{ echo {vector["nonce"]}; exit; }}\n',
        curl=f'cat >{sent}; for word; do [ "$last" != -o ] || echo "{{}}" >"$word"; last=$word; done; echo 200; exit\n',
    )
    words = ["https://acs.example.com", vector["group"], vector["registration_id"], *json.loads(vector["body"]).values()]
    secret = {"ACS_DEVICE_KEY": vector["device_key"]}
    subprocess.run([*CLIENTS[shell], *words], cwd=ROOT, env={**os.environ, **aside, **secret}, timeout=60, check=True)
    notes = (tmp_path / "programs" / "notes").read_text()
    assert vector["body"] in notes, "curl was called, and its arguments are known"
    for hidden in (vector["device_key"], vector["signature"]):
        assert hidden not in notes
    fields = {name: vector[name] for name in ("group", "registration_id", "timestamp", "nonce", "signature")}
    assert sent.read_text() == "Authorization: ACS-HMAC-SHA256 " + ",".join(f"{name}={value}" for name, value in fields.items()) + "\n"


def test_a_text_that_is_no_devices_key_is_refused_by_the_shell_client():
    words = [*CLIENTS["sh"], "https://acs.example.com", "g", "till-7"]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "ACS_DEVICE_KEY": "x" * 65}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "ACS_DEVICE_KEY is no device's key\n")


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
def test_every_client_is_admitted_waits_and_is_refused(fleet_cluster, tmp_path):
    tenant = factories.tenant("acme-inc", max_devices=10)
    aside = noting(tmp_path / "programs")
    told = dict(line.split() for line in run("enrolment_group", "make", "acme-inc", "tills", "--allow", "till-*").splitlines())
    with run_web(tmp_path, workers=1) as service:

        def ask(client, device, key=None):
            key = key or run("derive_key", "--group", "acme-inc", "tills", device).split()[1]
            done = subprocess.run(
                [*CLIENTS[client], service.url, told["group"], device, "till"], cwd=ROOT, env={**os.environ, **aside, "ACS_DEVICE_KEY": key},
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert client not in SHELLS or key not in (tmp_path / "programs" / "notes").read_text()
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
    assert Slot.objects.of(tenant).count() == 2 * len(CLIENTS)


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
