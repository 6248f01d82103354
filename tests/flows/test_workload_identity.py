"""Workloads bootstrap with a token of an issuer that their tenant trusts. The issuer is a real one on loopback; what should not be believed is not."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog
import time_machine
from cryptography.hazmat.primitives import serialization
from django.utils import timezone

from placement.models import NetReport, Slot
from tenants import credentials, issuers, lifecycle, trust, webtokens
from tenants.models import EnrolmentKey, IssuerKeys, SpentToken, TrustPolicy
from tests import doors, factories
from tests.conftest import DATABASE, superuser
from tests.fakes.oidc import AUDIENCE, SUBJECT, Issuer, issuing, signed_with_a_secret

pytestmark = pytest.mark.django_db
ACTED = {"actor": "system:tests"}
DISCOVERY = "/.well-known/openid-configuration"
ACCOUNT = "acme-inc"


@pytest.fixture
def issuer(settings: Any) -> Iterator[Issuer]:
    with issuing() as made:
        settings.OUTBOUND_ALLOWED = [made.url.removeprefix("http://")]
        yield made


@pytest.fixture
def tenant(fleet_cluster: Any) -> Any:
    return factories.tenant(ACCOUNT)


def bootstrap(secret: str, body: Any = None, **how: Any) -> Any:
    """With a token for the fixture's tenant, where the body names no other."""
    return doors.bootstrap(secret, ({"account": ACCOUNT} if webtokens.is_one(secret) else {}) | (body or {}), **how)


def trusted(tenant: Any, of: Issuer, name: str = "ci", **wish: Any) -> TrustPolicy:
    wish = {"issuer": of.url, "audience": AUDIENCE, "subject": "repo:acme/*", **wish}
    return trust.make(tenant, name, now=timezone.now(), **ACTED, **wish)


def code(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


def refused(answer: Any) -> bool:
    """With nothing but the code: the caller is not told why."""
    assert code(answer) == (401, "bad-credential"), answer.content
    assert "detail" not in answer.json()
    return True


def why(token: str, body: Any = None) -> str:
    """The reason in the log."""
    with structlog.testing.capture_logs() as logs:
        assert refused(bootstrap(token, body))
    return next(str(line["reason"]) for line in logs if line["event"] == "workload_refused")


# ---- a right token ---------------------------------------------------------------------------------------------------


def test_a_workload_with_a_trusted_token_gets_a_slot_under_the_name_that_the_token_gives(tenant, issuer):
    policy = trusted(tenant, issuer)
    answer = bootstrap(issuer.token(), {"hostname": "runner"})
    assert answer.status_code == 200, answer.content
    assert answer.json()["auth_key"].startswith("hskey-auth-")
    slot = Slot.objects.of(tenant).get()
    assert slot.enrolment_key == policy.key
    assert slot.registration_id.startswith("repo:acme-tills:ref:refs-heads-main..")
    assert issuer.asked == [DISCOVERY, "/keys"]


def test_the_keys_are_asked_for_once(tenant, issuer):
    trusted(tenant, issuer)
    assert [bootstrap(issuer.token()).status_code for _ in range(3)] == [200] * 3
    assert issuer.asked == [DISCOVERY, "/keys"]


@pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"])
def test_every_algorithm_that_is_accepted(tenant, issuer, alg):
    trusted(tenant, issuer)
    issuer.keys = [issuer.new_key("k", alg)]
    assert bootstrap(issuer.token(alg=alg)).status_code == 200


def test_a_token_for_several_audiences(tenant, issuer):
    trusted(tenant, issuer)
    assert bootstrap(issuer.token(aud=["other", AUDIENCE])).status_code == 200


def test_the_claim_that_names_the_device_is_the_policys_choice(tenant, issuer):
    trusted(tenant, issuer, registration_claim="run_id", ephemeral=True)
    for _ in range(2):
        assert bootstrap(issuer.token()).status_code == 200
    assert {slot.registration_id for slot in Slot.objects.of(tenant)} == {"1001", "1002"}
    assert code(bootstrap(issuer.token(), {"registration_id": "till-7"})) == (400, "malformed-request")
    assert "run_id" in why(issuer.token(run_id=None))


def test_nested_claims_are_named_by_a_pointer(tenant, issuer):
    trusted(tenant, issuer, registration_claim="/kubernetes.io/pod/uid", claims={"/kubernetes.io/namespace": "tills"})
    pod = {"namespace": "tills", "pod": {"uid": "2bd1f9a4"}}
    assert bootstrap(issuer.token(**{"kubernetes.io": pod})).status_code == 200
    assert Slot.objects.of(tenant).get().registration_id == "2bd1f9a4"
    assert "namespace" in why(issuer.token(**{"kubernetes.io": pod | {"namespace": "other"}}))


def test_a_policys_own_keys_need_no_call(tenant, issuer):
    jwks = issuer.jwks
    trusted(tenant, issuer, issuer="https://kubernetes.default.svc.cluster.local", jwks=jwks)
    assert bootstrap(issuer.token(iss="https://kubernetes.default.svc.cluster.local")).status_code == 200
    assert issuer.asked == []


def test_a_policys_own_address_of_keys_replaces_discovery(tenant, issuer):
    trusted(tenant, issuer, jwks_uri=f"{issuer.url}/keys")
    assert bootstrap(issuer.token()).status_code == 200
    assert issuer.asked == ["/keys"]


def test_what_a_credential_says_counts_for_workloads_too(tenant, issuer):
    trusted(tenant, issuer, registration_claim="run_id", max_devices=1)
    assert bootstrap(issuer.token()).status_code == 200
    assert code(bootstrap(issuer.token())) == (403, "quota-exceeded")


# ---- a token that is not believed ------------------------------------------------------------------------------------

HOUR = 3600
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": -61}, "expired"),
    "not yet valid": ({"nbf": 120}, "nbf"),
    "issued in the future": ({"iat": 120}, "iat"),
    "for too long": ({"exp": 24 * HOUR + 60}, "longer"),
    "for too long and without iat": ({"exp": 24 * HOUR + 60, "iat": None}, "longer"),
    "without an end": ({"exp": None}, "no exp"),
    "an end that is a text": ({"exp": "tomorrow"}, "exp is no time"),
    "an end at the end of time": ({"exp": 10**400}, "exp is no time"),
    "another audience": ({"aud": "https://acs.example.com/other"}, "no policy"),
    "no audience": ({"aud": None}, "no policy"),
    "an audience that is an object": ({"aud": {"acs": 1}}, "no policy"),
    "an audience with a NUL": ({"aud": ["\0", "\ud800"]}, "no policy"),
    "another issuer": ({"iss": "https://token.actions.githubusercontent.com"}, "no policy"),
    "an issuer with a slash more": ({"iss": "+/"}, "no policy"),
    "an issuer with a NUL": ({"iss": "+\0"}, "no issuer"),
    "an issuer of half a character": ({"iss": "+\ud800"}, "no issuer"),
    "no issuer": ({"iss": None}, "no issuer"),
    "another subject": ({"sub": "repo:evil/tills:ref:refs/heads/main"}, "sub is"),
    "a subject around the right one": ({"sub": f"x{SUBJECT}"}, "sub is"),
    "no subject": ({"sub": None}, "sub is"),
    "a subject that is a list": ({"sub": [SUBJECT]}, "sub is"),
    "another claim": ({"repository_owner": "evil"}, "repository_owner is"),
    "a claim too few": ({"repository_owner": None}, "no claim repository_owner"),
    "a claim that is null in a list": ({"repository_owner": [None, {"acme": 1}]}, "repository_owner is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_token_that_is_signed_rightly_and_wrong_all_the_same(tenant, issuer, name):
    trusted(tenant, issuer, claims={"repository_owner": ["acme", "acme-*"]})
    changes, reason = WRONG[name]
    now = int(time.time())
    said = {
        claim: now + value if claim in ("exp", "nbf", "iat") and isinstance(value, int) and value < 10**9 else value
        for claim, value in changes.items()
    }
    if isinstance(said.get("iss"), str):
        said["iss"] = said["iss"].replace("+", issuer.url)
    assert reason in why(issuer.token(**said))
    assert not Slot.objects.of(tenant).exists()
    assert bootstrap(issuer.token()).status_code == 200


def test_a_minute_of_difference_between_the_clocks_is_forgiven(tenant, issuer):
    trusted(tenant, issuer)
    now = int(time.time())
    assert bootstrap(issuer.token(exp=now - 50, iat=now - 400)).status_code == 200
    assert bootstrap(issuer.token(nbf=now + 50, iat=now + 50)).status_code == 200


def part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def test_a_token_without_a_signature_is_nothing(tenant, issuer):
    trusted(tenant, issuer)
    for alg in ("none", "None", "NONE", ""):
        assert "algorithm" in why(f"{part({'alg': alg})}.{part(issuer.claims())}.")
    head, body, _signature = issuer.token().split(".")
    assert "signature" in why(f"{head}.{body}.")


def test_the_public_key_is_no_shared_secret(tenant, issuer):
    trusted(tenant, issuer)
    issuer.keys = [issuer.new_key("k", "RS256")]
    public = issuer.keys[0].public_key
    for shape in (serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1):
        pem = public.public_bytes(serialization.Encoding.PEM, shape)
        assert "algorithm 'HS256'" in why(signed_with_a_secret({"alg": "HS256", "kid": "k"}, issuer.claims(), pem))
    assert issuer.asked == []


def test_a_key_signs_with_its_own_algorithm_alone(tenant, issuer):
    trusted(tenant, issuer)
    issuer.keys = [issuer.new_key("k", "RS256")]
    issuer.tell["/keys"] = (200, {}, json.dumps({"keys": [issuer.jwks["keys"][0] | {"alg": "RS256"}]}).encode())
    assert bootstrap(issuer.token(alg="RS256")).status_code == 200
    assert "PS256" in why(issuer.token(alg="PS256"))


def test_the_key_of_a_stranger_under_a_known_name(tenant, issuer):
    trusted(tenant, issuer)
    assert "signature is wrong" in why(issuer.token(key=issuer.new_key("first")))
    assert "no key 'other'" in why(issuer.token(key=issuer.new_key("other")))


def test_an_altered_token_is_refused(tenant, issuer):
    trusted(tenant, issuer)
    head, _body, signature = issuer.token().split(".")
    assert "signature is wrong" in why(f"{head}.{part(issuer.claims(run_id='9'))}.{signature}")


def test_keys_that_a_token_brings_along_are_not_used(tenant, issuer):
    trusted(tenant, issuer)
    own = issuer.new_key("own")
    with issuing() as evil:
        evil.keys = [own]
        for extra in ({"jwk": own.as_dict(private=False)}, {"jku": f"{evil.url}/keys"}, {"x5u": f"{evil.url}/keys"}, {"x5c": ["MII"]}):
            for kid in ("own", "first", None):
                assert why(issuer.token(key=own, header={**extra, "kid": kid}))
            assert bootstrap(issuer.token(header=extra)).status_code == 200, extra
        assert evil.asked == []


def test_a_token_that_asks_for_extensions_is_refused(tenant, issuer):
    trusted(tenant, issuer)
    for header in ({"crit": ["b64"], "b64": False}, {"crit": ["exp"]}, {"b64": True}, {"crit": []}):
        head = part({"alg": "ES256", "kid": "first", **header})
        assert "crit" in why(f"{head}.{part(issuer.claims())}.AAAA")


def test_a_huge_token_and_garbage(tenant, issuer):
    trusted(tenant, issuer)
    assert "longer than" in why(issuer.token(filler="x" * 9000))
    good = issuer.token()
    head, body, signature = good.split(".")
    for garbage in (
        "a.b.c", "..", f"{head}.{body}", f"{head}.{body}.{signature}.x", f"{head}..{signature}", f".{body}.{signature}", f"{part([1])}.{body}.{signature}",
        f"{part({'kid': 'first'})}.{body}.{signature}", f"{part({'alg': ['ES256'], 'kid': 'first'})}.{body}.{signature}",
        f"{part({'alg': 'ES256', 'kid': {}})}.{body}.{signature}", f"{head}.{part([issuer.claims()])}.{signature}", f"{head}.{part('x')}.{signature}",
        f"{head}.{'W1s' * 2000}.{signature}", f"{head}=.{body}.{signature}", good + "é", f"{head}.{body}.!!!!", "eyJ.eyJ.eyJ",
    ):  # fmt: skip
        assert refused(bootstrap(garbage)), garbage
    twice = base64.urlsafe_b64encode(b'{"iss": "a", "iss": "b"}').decode().rstrip("=")
    assert "payload" in why(f"{head}.{twice}.{signature}")
    assert issuer.asked == []


# ---- a token is good once --------------------------------------------------------------------------------------------


def test_a_token_is_good_once(tenant, issuer):
    trusted(tenant, issuer)
    token = issuer.token()
    assert bootstrap(token).status_code == 200
    assert "used before" in why(token)
    assert "used before" in why(token, {"hostname": "x"})
    other = issuer.token(jti=json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["jti"], run_id="77")
    assert "used before" in why(other)


def test_a_token_without_a_jti_is_good_once_in_whatever_form_its_signature_comes(tenant, issuer):
    trusted(tenant, issuer)
    token = issuer.token(jti=None)
    assert bootstrap(token).status_code == 200
    head, body, signature = token.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)  # (r, -s) is as good as (r, s)
    assert "used before" in why(f"{head}.{body}.{base64.urlsafe_b64encode(twin).decode().rstrip('=')}")
    assert "used before" in why(token)
    assert bootstrap(issuer.token(jti=None, run_id="8")).status_code == 200


def test_the_same_request_may_be_repeated_under_its_idempotency_key_and_no_other(tenant, issuer):
    trusted(tenant, issuer)
    token, body = issuer.token(), {"hostname": "runner"}
    first = bootstrap(token, body, idempotency_key="job-1")
    assert first.status_code == 200
    assert bootstrap(token, body, idempotency_key="job-1").content == first.content
    assert refused(bootstrap(token, body, idempotency_key="job-2"))
    assert refused(bootstrap(token, {"hostname": "other"}, idempotency_key="job-1"))
    assert refused(bootstrap(token, body))
    assert bootstrap(issuer.token(), body, idempotency_key="job-1").content == first.content  # a fresh token, the same request
    assert code(bootstrap(issuer.token(), {"hostname": "other"}, idempotency_key="job-1")) == (422, "idempotency-mismatch")
    with time_machine.travel(timezone.now() + timedelta(minutes=7)):
        assert refused(bootstrap(token, body, idempotency_key="job-1"))


def test_used_tokens_are_forgotten_when_they_could_not_be_used_any_more(tenant, issuer):
    from acs.tasks import forget_spent

    trusted(tenant, issuer)
    token = issuer.token()
    bootstrap(token)
    forget_spent()
    assert "used before" in why(token)
    with time_machine.travel(timezone.now() + timedelta(minutes=7)):
        forget_spent()
    assert not SpentToken.objects.exists()


# ---- whose workload --------------------------------------------------------------------------------------------------


def test_a_token_comes_with_an_account_and_without_one_nobody_is_asked(tenant, issuer):
    trusted(tenant, issuer)
    token = issuer.token()
    for body in ({}, {"account": ""}, {"account": None}, {"registration_id": "till-7"}):
        answer = doors.bootstrap(token, body)
        assert code(answer) == (400, "malformed-request")
        assert list(answer.json()["errors"]) == ["account"]
    assert issuer.asked == []
    assert not Slot.objects.of(tenant).exists()
    assert bootstrap(token).status_code == 200, "it was not used up"


def test_what_a_stranger_trusts_takes_no_workload_from_its_own_tenant(tenant, issuer):
    stranger = factories.tenant()
    trusted(stranger, issuer)
    assert "no policy" in why(issuer.token())
    for number in range(25):
        trusted(stranger, issuer, f"more-{number}")
    trusted(tenant, issuer)
    assert bootstrap(issuer.token()).status_code == 200
    assert (Slot.objects.of(stranger).count(), Slot.objects.of(tenant).count()) == (0, 1)


def test_a_report_by_a_token_names_its_account_too(tenant, issuer):
    trusted(tenant, issuer, registration_claim="run_id")
    token, said = issuer.token(run_id="till-7"), {"probes": {"dns": "ok"}}
    answers = [
        doors.post("/api/v1/bootstrap/report", json.dumps(said | named).encode(), Authorization=f"Bearer {token}")
        for named in ({}, {"account": 7}, {"account": "a\0"}, {"account": "nobody-here"}, {"account": ACCOUNT})
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 401, 204]
    assert NetReport.objects.of(tenant).get().registration_id == "till-7"


def test_where_policies_of_two_tenants_fit_the_account_says_whose_the_workload_is(fleet_cluster, issuer):
    one, other = factories.tenant(), factories.tenant()
    for each in (one, other):
        trusted(each, issuer)
    for each in (one, other):
        assert bootstrap(issuer.token(), {"account": each.account}).status_code == 200
        assert Slot.objects.of(each).count() == 1
    assert "no policy" in why(issuer.token(), {"account": "nobody-here"})


def test_audience_subject_and_claims_tell_tenants_apart(fleet_cluster, issuer):
    one, other, third = factories.tenant(), factories.tenant(), factories.tenant()
    trusted(one, issuer)
    trusted(other, issuer, subject="repo:other/*")
    trusted(third, issuer, audience="https://acs.example.com/third", claims={"repository_owner": "acme"})
    theirs = {"sub": "repo:other/x:environment:prod"}, {"aud": "https://acs.example.com/third"}
    for each, changes in zip((one, other, third), ({}, *theirs), strict=True):
        statuses = [bootstrap(issuer.token(**changes), {"account": asked.account}).status_code for asked in (one, other, third)]
        assert statuses == [200 if asked == each else 401 for asked in (one, other, third)]
    assert [Slot.objects.of(each).count() for each in (one, other, third)] == [1, 1, 1]


def test_a_tenant_that_claims_anothers_issuer_with_keys_of_its_own_neither_gets_nor_stops_its_workloads(fleet_cluster, issuer):
    thief, owner = factories.tenant(), factories.tenant()
    with issuing() as evil:
        trusted(thief, issuer, jwks=evil.jwks)
        trusted(owner, issuer)
        assert bootstrap(issuer.token(), {"account": owner.account}).status_code == 200
        assert (Slot.objects.of(thief).count(), Slot.objects.of(owner).count()) == (0, 1)
        assert refused(bootstrap(issuer.token(key=evil.keys[0]), {"account": owner.account}))


def test_of_a_tenants_policies_the_oldest_that_fits_counts(tenant, issuer):
    trusted(tenant, issuer, "narrow", claims={"ref_protected": "false"})
    first, second = trusted(tenant, issuer, "first"), trusted(tenant, issuer, "second")
    bootstrap(issuer.token())
    assert Slot.objects.of(tenant).get().enrolment_key == first.key
    credentials.revoke(first.key, now=timezone.now(), **ACTED)
    assert bootstrap(issuer.token(sub="repo:acme/x")).status_code == 200
    assert Slot.objects.of(tenant).filter(enrolment_key=second.key).count() == 1


def test_a_revoked_an_expired_and_a_suspended_ones_policy(tenant, issuer):
    policy = trusted(tenant, issuer, expires_at=timezone.now() + timedelta(minutes=2))
    assert bootstrap(issuer.token()).status_code == 200
    lifecycle.suspend(tenant, now=timezone.now(), **ACTED)
    assert code(bootstrap(issuer.token())) == (403, "tenant-suspended")
    assert refused(bootstrap(issuer.token(key=issuer.new_key("first"))))
    lifecycle.resume(tenant, now=timezone.now(), **ACTED)
    with time_machine.travel(timezone.now() + timedelta(minutes=3)):
        assert refused(bootstrap(issuer.token()))
    credentials.revoke(policy.key, now=timezone.now(), **ACTED)
    assert refused(bootstrap(issuer.token()))


def test_refusals_look_the_same(tenant, issuer):
    trusted(tenant, issuer)
    used = issuer.token()
    bootstrap(used)
    answers = [
        bootstrap(token)
        for token in (issuer.token(exp=1), issuer.token(aud="x"), used, "a.b.c", "acs-enrol-x", issuer.token(key=issuer.new_key("n")))
    ]
    assert len({answer.content for answer in answers}) == 1


def statements(token: str, body: Any = None) -> list[str]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as seen:
        assert refused(bootstrap(token, body))
    return [query["sql"].split(" WHERE ")[0] for query in seen]


def test_a_made_up_token_costs_the_same_whether_somebody_trusts_its_issuer_or_not(tenant, issuer):
    trusted(tenant, issuer)
    bootstrap(issuer.token())
    stranger = issuer.new_key("first")
    asked = [
        statements(issuer.token(key=stranger, **changes), {"account": account})
        for changes, account in (({}, tenant.account), ({}, "nobody-here"), ({"aud": "x"}, tenant.account), ({"sub": "x"}, tenant.account))
    ]
    assert all(each[:2] == asked[0][:2] for each in asked)
    assert [len(each) for each in asked] == [4] * 4  # the last two write the refusal down, with what was claimed


# ---- the issuer's keys -----------------------------------------------------------------------------------------------


def test_a_rotated_key_counts_at_once_and_strangers_cannot_make_us_ask_all_the_time(tenant, issuer):
    trusted(tenant, issuer)
    assert bootstrap(issuer.token()).status_code == 200
    issuer.keys = [issuer.new_key("second"), *issuer.keys]
    assert bootstrap(issuer.token()).status_code == 200
    assert issuer.asked == [DISCOVERY, "/keys"] * 2
    for number in range(5):
        assert refused(bootstrap(issuer.token(key=issuer.new_key(f"unknown-{number}"))))
    assert issuer.asked == [DISCOVERY, "/keys"] * 2
    with time_machine.travel(timezone.now() + timedelta(seconds=31)):
        assert refused(bootstrap(issuer.token(key=issuer.new_key("unknown"))))
        assert refused(bootstrap(issuer.token(key=issuer.new_key("unknown"))))
    assert issuer.asked == [DISCOVERY, "/keys"] * 3


def test_a_key_without_a_name_is_found_and_rotated(tenant, issuer):
    trusted(tenant, issuer)
    nameless = [{name: value for name, value in key.as_dict(private=False).items() if name != "kid"} for key in issuer.keys]
    issuer.tell["/keys"] = (200, {}, json.dumps({"keys": nameless}).encode())
    assert bootstrap(issuer.token(header={"kid": None})).status_code == 200
    issuer.tell.clear()
    issuer.keys = [issuer.new_key("second")]
    assert bootstrap(issuer.token(header={"kid": None})).status_code == 200


def test_a_removed_key_counts_no_more_when_the_copy_is_ten_minutes_old(tenant, issuer):
    trusted(tenant, issuer)
    old = issuer.keys[0]
    assert bootstrap(issuer.token()).status_code == 200
    issuer.keys = [issuer.new_key("second")]
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        assert refused(bootstrap(issuer.token(key=old)))
        assert bootstrap(issuer.token()).status_code == 200


def test_an_issuer_that_is_down_is_asked_twice_a_minute_and_its_copy_is_good_for_a_day(tenant, issuer):
    trusted(tenant, issuer)
    issuer.tell[DISCOVERY] = (500, {}, b"")
    assert "status 500" in why(issuer.token())
    assert "status 500" in why(issuer.token())
    assert issuer.asked == [DISCOVERY]
    issuer.tell.clear()
    start = timezone.now()
    with time_machine.travel(start + timedelta(seconds=31)):
        assert bootstrap(issuer.token()).status_code == 200
    issuer.tell[DISCOVERY] = (500, {}, b"")
    with time_machine.travel(start + timedelta(hours=23)):
        assert bootstrap(issuer.token()).status_code == 200
        assert bootstrap(issuer.token()).status_code == 200
    assert issuer.asked == [DISCOVERY, DISCOVERY, "/keys", DISCOVERY]
    with time_machine.travel(start + timedelta(hours=25)):
        assert "status 500" in why(issuer.token())
        issuer.tell.clear()
    with time_machine.travel(start + timedelta(hours=26)):
        assert bootstrap(issuer.token()).status_code == 200


def test_keys_are_here_before_the_first_workload_and_are_kept_young_meanwhile(tenant, issuer):
    from acs.tasks import refresh_issuers

    trusted(tenant, issuer)
    trusted(tenant, issuer, "again")
    trusted(tenant, issuer, "inline", issuer="https://cluster.example", jwks=issuer.jwks)
    credentials.revoke(trusted(tenant, issuer, "gone", jwks_uri=f"{issuer.url}/gone").key, now=timezone.now(), **ACTED)
    start = timezone.now()
    refresh_issuers()
    refresh_issuers()
    assert issuer.asked == [DISCOVERY, "/keys"]
    assert bootstrap(issuer.token()).status_code == 200
    for hours in (1.1, 2.2, 30, 54):
        with time_machine.travel(start + timedelta(hours=hours)):
            refresh_issuers()
    assert issuer.asked == [DISCOVERY, "/keys"] * 5
    issuer.tell[DISCOVERY] = (500, {}, b"")
    with time_machine.travel(start + timedelta(hours=56)):
        refresh_issuers()
        refresh_issuers()
        assert bootstrap(issuer.token()).status_code == 200
    assert issuer.asked == [*[DISCOVERY, "/keys"] * 5, DISCOVERY]


DOCUMENTS: dict[str, tuple[str, int, Any]] = {
    "another issuer's discovery": (DISCOVERY, 200, {"issuer": "https://evil.example", "jwks_uri": "+/keys"}),
    "a discovery without keys": (DISCOVERY, 200, {"issuer": "+"}),
    "keys without TLS": (DISCOVERY, 200, {"issuer": "+", "jwks_uri": "http://keys.example.com/"}),
    "keys at a private address": (DISCOVERY, 200, {"issuer": "+", "jwks_uri": "https://10.0.0.1/keys"}),
    "keys at the metadata service": (DISCOVERY, 200, {"issuer": "+", "jwks_uri": "https://169.254.169.254/latest"}),
    "keys in a file": (DISCOVERY, 200, {"issuer": "+", "jwks_uri": "file:///etc/passwd"}),
    "a list": (DISCOVERY, 200, [1]),
    "a redirect": (DISCOVERY, 302, {}),
    "redirected keys": ("/keys", 307, {}),
    "no JSON": ("/keys", 200, None),
    "no set": ("/keys", 200, {"keys": 1}),
    "a private key": ("/keys", 200, {"keys": [{"kty": "EC", "d": "x"}]}),
    "a shared key": ("/keys", 200, {"keys": [{"kty": "oct", "k": "x"}]}),
    "strange keys": ("/keys", 200, {"keys": [{"kty": ["EC"], "kid": 1}, {"kty": "EC", "crv": "P-256", "x": "\0", "y": 1}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}),
    "keys of strange operations": ("/keys", 200, {"keys": [{"kty": "EC", "key_ops": 5}]}),
    "too many keys": ("/keys", 200, {"keys": [{}] * 101}),
    "a huge document": ("/keys", 200, {"keys": [], "filler": "x" * 300_000}),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_an_issuer_should_not_say(tenant, issuer, name):
    trusted(tenant, issuer)
    path, status, document = DOCUMENTS[name]
    body = b"{" if document is None else json.dumps(document).replace("+", issuer.url).encode()
    issuer.tell[path] = (status, {"Location": f"{issuer.url}/elsewhere"}, body)
    assert why(issuer.token())
    assert "/elsewhere" not in issuer.asked
    issuer.tell.clear()
    with time_machine.travel(timezone.now() + timedelta(seconds=31)):
        assert bootstrap(issuer.token()).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_an_issuer_inside_a_transaction_and_one_asks_for_all(tenant, issuer):
    from django.db import connections

    trusted(tenant, issuer)
    idle: list[Any] = []

    def look(_path: str) -> None:
        with superuser() as connection:
            idle.extend(
                connection.execute(
                    """select query from pg_stat_activity where datname = %s and state like 'idle in transaction%%'
                       and state_change < clock_timestamp() - interval '0.2 s'""",
                    [DATABASE],
                ).fetchall()
            )

    issuer.when_asked, issuer.delay = look, 0.4
    answers: list[int] = []

    def ask() -> None:
        try:
            answers.append(bootstrap(issuer.token()).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [200] * 4
    assert issuer.asked == [DISCOVERY, "/keys"]
    assert idle == []


def test_a_slow_issuer_takes_half_of_the_threads_at_most(tenant, issuer):
    trusted(tenant, issuer)
    taken = 0
    while issuers.busy.acquire(blocking=False):
        taken += 1
    try:
        assert taken == 4  # of the eight that a web process has by default
        begun = time.monotonic()
        assert refused(bootstrap(issuer.token()))
        assert time.monotonic() - begun < 1
        assert issuer.asked == []
    finally:
        for _ in range(taken):
            issuers.busy.release()
    issuer.delay = 30.0
    begun = time.monotonic()
    assert refused(bootstrap(issuer.token()))
    assert 4 < time.monotonic() - begun < 7
    begun = time.monotonic()
    assert refused(bootstrap(issuer.token()))
    assert time.monotonic() - begun < 1
    assert IssuerKeys.objects.get().failure
    issuer.delay = 0.0


# ---- the bearer door is as it was ------------------------------------------------------------------------------------


def test_a_bearer_key_costs_no_statement_more(fleet_cluster):
    customer = factories.customer()
    bootstrap(customer.secret, {"registration_id": "a"})
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as seen:
        assert bootstrap(customer.secret, {"registration_id": "b"}).status_code == 200
    assert not [query["sql"] for query in seen if "trust" in query["sql"] or "spent" in query["sql"] or "issuerkeys" in query["sql"]]
    with CaptureQueriesContext(connection) as seen:
        assert refused(bootstrap("acs-enrol-nothing"))
    assert not [query["sql"] for query in seen if "trust" in query["sql"]]


def test_a_policys_credential_opens_nothing_as_a_bearer_key(tenant, issuer):
    policy = trusted(tenant, issuer)
    for text in (policy.key.hint, str(policy.pk), bytes(policy.key.digest).hex()):
        assert refused(bootstrap(text))
    assert EnrolmentKey.objects.of(tenant).get().kind == "workload"
