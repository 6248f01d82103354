"""The policy document: stored, read, checked, refused."""

from __future__ import annotations

import json

import pytest

from placement.errors import ClusterRefused
from placement.headscale.admin import Admin, Policy, User
from tests.servers import Server

SELF = {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}
LITERAL = {"action": "accept", "src": ["100.127.255.255/32"], "dst": ["100.127.255.255/32:1"]}
BASE = {"acls": [LITERAL, SELF]}


def test_a_new_server_has_no_policy(newborn: tuple[Server, Policy | None]) -> None:
    assert newborn[1] is None


def test_what_is_put_is_stored_as_it_is(admin: Admin, server: Server) -> None:
    document = "// the base\n" + json.dumps(BASE, indent=1).replace("]\n}", "],\n}")
    stored = admin.put_policy(document)
    assert stored.document == document
    assert stored.updated_at is not None
    assert admin.policy() == stored
    assert server.rows("select data from policies order by id desc limit 1") == [(document,)]


def test_each_put_adds_a_row(admin: Admin, server: Server) -> None:
    before = server.rows("select count(*) from policies")[0][0]
    admin.put_policy(json.dumps(BASE))
    admin.put_policy(json.dumps(BASE))
    assert server.rows("select count(*) from policies") == [(before + 2,)]


def test_an_empty_policy_is_stored(admin: Admin) -> None:
    assert admin.put_policy("").document == ""
    stored = admin.policy()
    assert stored is not None
    assert stored.document == ""


BAD = {
    "broken": "{",
    "not an object": "[]",
    "unknown field": '{"nonsense": []}',
    "undefined group": json.dumps({"acls": [{"action": "accept", "src": ["group:x"], "dst": ["*:*"]}]}),
    "undefined tag": json.dumps({"acls": [{"action": "accept", "src": ["tag:x"], "dst": ["*:*"]}]}),
    "undefined host": json.dumps({"acls": [{"action": "accept", "src": ["somehost"], "dst": ["*:*"]}]}),
    "destination without port": json.dumps({"acls": [{"action": "accept", "src": ["*"], "dst": ["100.64.0.1"]}]}),
    "bad port": json.dumps({"acls": [{"action": "accept", "src": ["*"], "dst": ["100.64.0.1:x"]}]}),
    "other action": json.dumps({"acls": [{"action": "drop", "src": ["*"], "dst": ["*:*"]}]}),
    "self as source": json.dumps({"acls": [{"action": "accept", "src": ["autogroup:self"], "dst": ["*:*"]}]}),
    "unknown autogroup": json.dumps({"acls": [{"action": "accept", "src": ["autogroup:nonsense"], "dst": ["*:*"]}]}),
    "group of groups": json.dumps({"groups": {"group:a": ["group:b"], "group:b": []}, "acls": []}),
    "grant without ip and app": json.dumps({"grants": [{"src": ["*"], "dst": ["*"]}]}),
    "empty test": json.dumps({"acls": [], "tests": [{"src": "100.64.0.1"}]}),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_policy_is_refused_by_put_and_check_and_changes_nothing(admin: Admin, fault: str) -> None:
    admin.put_policy(json.dumps(BASE))
    before = admin.policy()
    with pytest.raises(ClusterRefused) as refusal:
        admin.put_policy(BAD[fault])
    assert refusal.value.status == 500
    with pytest.raises(ClusterRefused) as refusal:
        admin.check_policy(BAD[fault])
    assert refusal.value.status == 400
    assert admin.policy() == before


GOOD = {
    "rules": json.dumps({"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}),
    "self and literal": json.dumps(BASE),
    "groups, tags, hosts": json.dumps(
        {
            "groups": {"group:staff": ["somebody@"]},
            "tagOwners": {"tag:acme--web": ["group:staff"]},
            "hosts": {"printer": "100.64.9.9"},
            "acls": [{"action": "accept", "src": ["group:staff", "tag:acme--web"], "dst": ["printer:631,9100-9110", "tag:acme--web:*"]}],
        }
    ),
    "grants": json.dumps(
        {
            "grants": [
                {"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]},
                {"src": ["a@"], "dst": ["b@"], "ip": ["tcp:80"]},
            ]
        }
    ),
    "a user that nobody knows": json.dumps({"acls": [{"action": "accept", "src": ["nobody@"], "dst": ["noone@:80"]}]}),
    "comments and trailing commas": '{ /* all */ "acls": [ ], // none\n }',
}


@pytest.mark.parametrize("form", GOOD)
def test_a_good_policy_passes_the_check_without_being_stored(admin: Admin, form: str) -> None:
    before = admin.policy()
    admin.check_policy(GOOD[form])
    assert admin.policy() == before
    admin.put_policy(GOOD[form])
    admin.put_policy(json.dumps(BASE))


REACH = {"acls": [{"action": "accept", "src": ["100.64.0.1"], "dst": ["100.64.0.2:80", "100.64.0.3:*"]}]}
TESTS = {
    "allowed": ({"src": "100.64.0.1", "accept": ["100.64.0.2:80"]}, ""),
    "denied": ({"src": "100.64.0.1", "deny": ["100.64.0.2:81", "100.64.0.4:80"]}, ""),
    "wrongly expected": ({"src": "100.64.0.1", "accept": ["100.64.0.2:443"]}, "expected ALLOWED, got DENIED"),
    "wrongly denied": ({"src": "100.64.0.1", "deny": ["100.64.0.3:5"]}, "expected DENIED, got ALLOWED"),
    "the other way": ({"src": "100.64.0.2", "accept": ["100.64.0.1:80"]}, "expected ALLOWED, got DENIED"),
}


@pytest.mark.parametrize("case", TESTS)
def test_the_tests_of_a_document_are_run_by_the_check(admin: Admin, case: str) -> None:
    test, fault = TESTS[case]
    document = json.dumps({**REACH, "tests": [test]})
    if not fault:
        return admin.check_policy(document)
    with pytest.raises(ClusterRefused, match=fault) as refusal:
        admin.check_policy(document)
    assert refusal.value.status == 400
    return None


def test_a_test_about_a_user_without_a_device_rejects_the_document(admin: Admin, user: User) -> None:
    document = json.dumps({**BASE, "tests": [{"src": f"{user.name}@", "accept": ["100.64.0.1:80"]}]})
    with pytest.raises(ClusterRefused, match="resolved to no IP addresses"):
        admin.check_policy(document)
    with pytest.raises(ClusterRefused, match="resolved to no IP addresses"):
        admin.put_policy(document)
