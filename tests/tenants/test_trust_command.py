"""`manage.py trust_policy`: the verbs of the API on the command line, and what each policy thinks of a token."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tenants.models import SpentToken, TrustPolicy
from tests import factories
from tests.doors import bootstrap
from tests.fakes.oidc import AUDIENCE, Issuer

pytestmark = pytest.mark.django_db
ISSUER = Issuer("https://cluster.example")


@pytest.fixture
def run(capsys: Any) -> Any:
    def call(*words: str) -> str:
        call_command("trust_policy", *words)
        return capsys.readouterr().out

    return call


@pytest.fixture
def keys(tmp_path: Any) -> str:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(ISSUER.jwks))
    return str(path)


def make(run: Any, keys: str, name: str = "pods", *more: str) -> str:
    own = ("--issuer", ISSUER.url, "--audience", AUDIENCE, "--jwks-file", keys)
    return run("make", "acme-inc", name, *own, *(more if "--subject" in more else ("--subject", "repo:acme/*", *more)))


def test_a_policys_life_on_the_command_line(run, keys):
    tenant = factories.tenant("acme-inc")
    more = (
        "--claim",
        "ref_protected=true",
        "--claim",
        "ref=main",
        "--claim",
        "ref=prod=1",
        "--max-devices",
        "3",
        "--expires-in",
        "30d",
        "--ephemeral",
    )
    assert "pods trusts https://cluster.example" in make(run, keys, "pods", *more)
    policy = TrustPolicy.objects.of(tenant).select_related("key").get()
    assert policy.claims == {"ref_protected": ["true"], "ref": ["main", "prod=1"]}
    assert (policy.key.max_devices, policy.key.ephemeral, policy.key.expires_at is None) == (3, True, False)
    assert "pods  live  0 devices  https://cluster.example  repo:acme/*" in run("list", "acme-inc")
    run("change", "acme-inc", "pods", "--subject", "repo:acme/tills:*", "--registration-claim", "run_id")
    shown = run("show", "acme-inc", "pods")
    for words in ("repo:acme/tills:*", "named by the claim run_id", "0 of 3", "the ones of the policy", '"prod=1"'):
        assert words in shown
    assert run("revoke", "acme-inc", "pods") == "pods is revoked\n"
    assert "pods  revoked" in run("list", "acme-inc")
    with pytest.raises(CommandError, match="revoked"):
        run("revoke", "acme-inc", "pods")


def test_what_cannot_be_is_told_in_words(run, keys, tmp_path):
    factories.tenant("acme-inc")
    for words, reason in (
        (("make", "nobody", "x", "--issuer", "https://a.example", "--audience", "a", "--subject", "s"), "No tenant"),
        (("make", "acme-inc", "x", "--issuer", "http://a.example", "--audience", "a", "--subject", "s"), "issuer"),
        (("make", "acme-inc", "x", "--issuer", "https://a.example", "--audience", "a", "--subject", "*"), "subject"),
        (("make", "acme-inc", "x", "--issuer", "https://a.example", "--audience", "a", "--subject", "s", "--claim", "x"), "NAME=PATTERN"),
        (
            ("make", "acme-inc", "x", "--issuer", "https://a.example", "--audience", "a", "--subject", "s", "--jwks-file", str(tmp_path)),
            "read",
        ),
        (("show", "acme-inc", "x"), "no trust policy"),
        (("test", "acme-inc", keys), "no token"),
    ):
        with pytest.raises(CommandError, match=reason):
            run(*words)


@pytest.mark.usefixtures("fleet_cluster")
def test_a_token_is_judged_question_by_question_and_not_used_up(run, keys, tmp_path, capsys, monkeypatch):
    factories.tenant("acme-inc")
    make(run, keys, "narrow", "--subject", "repo:acme/other:*", "--claim", "environment=prod")
    make(run, keys, "pods", "--registration-claim", "run_id")
    token, path = ISSUER.token(run_id="77"), tmp_path / "token"
    path.write_text(token + "\n")
    told = run("test", "acme-inc", str(path))
    narrow, pods = told.split("narrow\n")[1].split("pods\n")
    assert "NO  subject" in narrow
    assert "repo:acme/other:*" in narrow
    assert "NO  claims           the token has no claim environment" in narrow
    assert "ok  signature        ES256, key first" in narrow
    assert "NO" not in pods
    assert "pods admits it as 77\n" in told
    assert token not in told
    assert not SpentToken.objects.exists()
    assert bootstrap(token, {"account": "acme-inc"}).status_code == 200
    monkeypatch.setattr("sys.stdin", io.StringIO(token))
    assert "used already" in run("test", "acme-inc", "-")
    path.write_text(ISSUER.token(key=ISSUER.new_key("first"), exp=1))
    with pytest.raises(CommandError, match="No policy admits"):
        run("test", "acme-inc", str(path))
    told = capsys.readouterr().out
    assert "NO  time" in told
    assert "NO  signature        the signature is wrong" in told
