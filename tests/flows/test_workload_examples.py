"""clients/WORKLOADS.md: its commands make policies, and the tokens that it shows pass them, and those that it warns of do not."""

from __future__ import annotations

import json
import re
import shlex
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from tenants import questions, webtokens
from tenants.models import TrustPolicy
from tests import factories
from tests.conftest import ROOT
from tests.fakes.oidc import Issuer

pytestmark = pytest.mark.django_db
PAGE = (ROOT / "clients/WORKLOADS.md").read_text()
COMMANDS = [shlex.split(text.replace("\\\n", " ")) for text in re.findall(r"```sh\n(manage\.py trust_policy make .*?)```", PAGE, re.DOTALL)]
TOKENS = {name: json.loads(text) for name, text in re.findall(r"```json (\S+)\n(.*?)```", PAGE, re.DOTALL)}
SIGNER = Issuer("https://signer.example")


@pytest.fixture
def policies(tmp_path: Any) -> dict[str, TrustPolicy]:
    tenant = factories.tenant("acme-inc")
    (tmp_path / "jwks.json").write_text(json.dumps(SIGNER.jwks))
    for command in COMMANDS:
        words = [str(tmp_path / word) if word == "jwks.json" else word for word in command[1:]]
        call_command(*words, stdout=StringIO())
    return {policy.name: policy for policy in TrustPolicy.objects.of(tenant).select_related("key")}


def passes(policy: TrustPolicy, **changes: Any) -> bool:
    said = TOKENS[policy.name]
    token = webtokens.read(SIGNER.token(**({"jti": None} | said | changes)))
    policy.jwks = SIGNER.jwks  # the page's issuers sign with keys that are not ours to have
    return all(answer.passed for answer in questions.judge(token, policy, now=timezone.now()))


def test_every_example_has_a_policy_and_its_token_passes(policies):
    assert set(policies) == set(TOKENS) == {"github-deploy", "gitlab-main", "cluster-one"}
    for policy in policies.values():
        assert passes(policy), policy.name


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("github-deploy", {"sub": "repo:acme/tills:pull_request"}),
        ("github-deploy", {"sub": "repo:acme-evil/tills:environment:production"}),
        ("github-deploy", {"repository_owner_id": "7654321"}),
        ("gitlab-main", {"sub": "project_path:acme/tills:ref_type:branch:ref:feature"}),
        ("gitlab-main", {"ref_protected": "false"}),
        ("gitlab-main", {"project_id": "4712"}),
        ("cluster-one", {"sub": "system:serviceaccount:other:gateway"}),
        ("cluster-one", {"aud": ["https://kubernetes.default.svc.cluster.local"]}),
    ],
)
def test_what_the_page_warns_of_does_not_pass(policies, name, changes):
    assert not passes(policies[name], **changes)
