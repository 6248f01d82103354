"""Attacks by the words of one tenant's policy on the others of its server: they mean its own or nothing, and tell nothing of others."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from placement.policies import explaining, peerings, resolving, storing, trials
from placement.policies.facts import TenantFact
from tenants import tags
from tenants.errors import MalformedRequest
from tenants.models import NetworkPolicy
from tenants.policies.document import PolicyRefused
from tenants.policies.reading import read
from tests import factories
from tests.api.callers import Program, program_of, said
from tests.flows.policy_attacks import attacked
from tests.flows.policy_attacks.attacked import Shore, apart, document, rule
from tests.placement.policies import networks
from tests.tenants.policies.marks import faults, unmarked

pytestmark = pytest.mark.django_db


# ---- 1: names of others ----------------------------------------------------------------------------------------------
FIELDS = {
    "a group's member": '"groups": {"group:x": [¶"NAME"]}',
    "a group": '"groups": {¶"NAME": []}',
    "a tag's owner": '"tagOwners": {"tag:exit": [¶"NAME"]}',
    "a tag": '"tagOwners": {"tag:exit": [], ¶"NAME": []}',
    "a host": '"hosts": {"x": ¶"NAME"}',
    "a host's name": '"hosts": {¶"NAME": "10.9.0.1"}',
    "a source": '"acls": [{"action": "accept", "src": [¶"NAME"], "dst": ["*:*"]}]',
    "a destination": '"acls": [{"action": "accept", "src": ["*"], "dst": [¶"NAME:*"]}]',
    "a grant's source": '"grants": [{"src": [¶"NAME"], "dst": ["*"], "ip": ["*"]}]',
    "a grant's destination": '"grants": [{"src": ["*"], "dst": [¶"NAME"], "ip": ["*"], "app": {"acme.test/cap/x": []}}]',
    "a router": '"grants": [{"src": ["*"], "dst": ["10.2.0.0/16"], "ip": ["*"], "via": [¶"NAME"]}]',
    "what a router leads to": '"grants": [{"src": ["*"], "dst": [¶"NAME"], "ip": ["*"], "via": ["tag:exit"]}]',
    "a shell's source": '"ssh": [{"action": "accept", "src": [¶"NAME"], "dst": ["tag:exit"], "users": ["root"]}]',
    "a shell's destination": '"ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": [¶"NAME"], "users": ["root"]}]',
    "an approver": '"autoApprovers": {"routes": {"10.2.0.0/16": [¶"NAME"]}}',
    "an approved prefix": '"autoApprovers": {"routes": {¶"NAME": ["tag:exit"]}}',
    "an approver of exit nodes": '"autoApprovers": {"exitNode": [¶"NAME"]}',
    "a target": '"nodeAttrs": [{"target": [¶"NAME"], "attr": ["randomize-client-port"]}]',
    "a test's source": '"tests": [{"src": ¶"NAME", "deny": ["tag:exit:22"]}]',
    "a test's yes": '"tests": [{"src": "*", "accept": [¶"NAME:22"]}]',
    "a test's no": '"tests": [{"src": "*", "deny": [¶"NAME:22"]}]',
}
# what another tenant has, and what nobody has
NAMES = {
    "user": ("bolt@", "bold@"),
    "account": ("bolt", "bold"),
    "tag, in the server's words": ("tag:bolt--db", "tag:bold--db"),
    "tag": ("tag:db", "tag:dx"),
    "group": ("group:ops", "group:opx"),
    "group of the compiler's": ("group:acs-plain", "group:acs-plaim"),
    "host": ("safe", "sale"),
    "device": ("gate", "game"),
    "registration id": ("gate-007", "game-007"),
    "member": ("bea@bolt.example", "bee@bolt.example"),
    "routed prefix": ("10.2.0.0/16", "10.3.0.0/16"),
    "part of a routed prefix": ("10.2.3.0/24", "10.3.3.0/24"),
    "public routed prefix": ("81.2.69.0/24", "81.2.70.0/24"),
    "routed address": ("10.2.0.9", "10.3.0.9"),
}
MEANS_NOTHING = {
    "routed prefix",
    "part of a routed prefix",
    "public routed prefix",
    "routed address",
    "member",
}  # the last as owner of a tag
OWN_BY_DEFINITION = ("a group", "a tag", "a host's name")  # a name that a tenant gives is its own, whoever else has given it


def names(shore: Shore) -> dict[str, tuple[str, str]]:
    gate = shore.device("gate")
    free = {version: attacked.free_address(shore, version=version) for version in (4, 6)}
    return {**NAMES, "address": (gate.ipv4 or "", free[4]), "IPv6 address": (gate.ipv6 or "", free[6])}


def text_of(field: str, name: str) -> tuple[str, Any]:
    """acme's document with the name in one field, and where it stands there."""
    section = FIELDS[field].replace("NAME", f"[{name}]" if '"NAME:' in FIELDS[field] and name.count(":") > 1 else name)
    return unmarked(f"{{{section}}}" if section.startswith('"tagOwners') else document(section))


def answer(fact: TenantFact, text: str) -> list[tuple[Any, str]]:
    """Where and why a tenant's text is refused; nothing where it is not."""
    try:
        found = resolving.faults(fact, read(text))
    except PolicyRefused as refused:
        found = refused.faults
    return [(fault.place, fault.reason) for fault in found]


def test_what_another_tenant_has_is_refused_where_it_stands_as_what_nobody_has_or_means_nothing(shore):
    factories.person("bea@bolt.example", of=shore.tenants["bolt"])
    program, fact, seen, taken, pairs = program_of(shore.tenants["acme"]), shore.fact.tenant("acme"), set(), [], names(shore)
    for field in FIELDS:
        for kind, (theirs, nobodys) in pairs.items():
            (text, place), (twin, _) = text_of(field, theirs), text_of(field, nobodys)
            told = answer(fact, text)
            assert [(at, why.replace(theirs, nobodys)) for at, why in told] == answer(fact, twin), (field, kind)
            assert all(at == place for at, _ in told), (field, kind, told)
            if not told:
                taken.append((field, kind, text, twin))
                continue
            if kind in ("device", "address", "tag") and kind not in seen:
                assert same(program, "PUT", "policy", (theirs, nobodys), (text, twin)) == 422, kind
            seen.add(kind)
    assert seen == pairs.keys()
    assert {kind for field, kind, *_ in taken if field not in OWN_BY_DEFINITION} == MEANS_NOTHING
    for field, kind, text, twin in taken:
        if field in OWN_BY_DEFINITION and kind not in ("tag", "group", "device"):
            continue
        assert apart(shore.oracle(storing.world_of(shore.tenants["acme"], text))), (field, kind)
        if kind == "public routed prefix":
            assert same(program, "POST", "policy/preview", pairs[kind], (text, twin)) == 200, (field, kind)


def same(program: Program, method: str, path: str, pair: tuple[str, str], texts: tuple[str, str]) -> int:
    """The status of two answers that differ in nothing but the names."""
    one, other = (program.call(method, f"tenants/acme/{path}", {"text": each}, **{"If-Match": '"1"'}) for each in texts)
    assert one.content.decode().replace(*pair) == other.content.decode()
    return one.status_code


def test_a_text_that_means_nothing_outside_is_taken_by_the_server_and_its_neighbours_are_none_the_wiser(shore):
    """All the words at once that are not refused."""
    text = document(
        '"hosts": {"gate": "10.2.0.9", "safe": "81.2.69.0/24"}, "groups": {"group:ops": ["lap-007"]},'
        '"acls": [{"action": "accept", "src": ["group:ops", "10.2.0.0/16", "safe"], "dst": ["gate:*", "safe:*", "10.2.0.0/16:*", "tag:db:*"]}],'
        '"grants": [{"src": ["*"], "dst": ["10.2.0.0/16", "81.2.69.7"], "ip": ["*"], "via": ["tag:db"]}],'
        '"autoApprovers": {"routes": {"10.2.0.0/16": ["tag:db"], "81.2.69.0/24": ["tag:db"]}}',
        tags=', "tag:db": []',
    )
    others = {account: shore.fact.tenant(account) for account in ("bolt", "crow")}
    storing.store(shore.tenants["acme"], text, expected=1, actor="system:tests", now=timezone.now())
    assert {account: shore.fact.tenant(account) for account in others} == others
    assert apart(shore.oracle())
    shore.push()


def test_words_of_peerings_questions_and_devices_are_ones_own_and_tell_nothing_of_others(shore):
    factories.person("bea@bolt.example", of=shore.tenants["bolt"])
    acme, told, pairs = shore.tenants["acme"], {"actor": "system:tests", "now": timezone.now()}, names(shore)
    offered, reach = peerings.offer(shore.tenants["bolt"], "acme", dst=["gate"], services=["tcp:22"], **told), storing.world_of(acme).reach

    def ask(name: str) -> list[str]:
        answers = []
        for asked in (
            lambda: peerings.offer(acme, "bolt", dst=[name], services=["*"], **told),
            lambda: peerings.accept(offered, [name], **told),
            lambda: tags.check(acme, [name]),
            lambda: explaining.explain(reach, name, "printer"),
            lambda: explaining.explain(reach, "printer", name),
        ):
            try:
                answers.append(repr(asked()))
            except MalformedRequest as refusal:
                answers.append(f"refused: {refusal}")
        return answers

    for kind, (theirs, nobodys) in pairs.items():
        answers = ask(theirs)
        assert [answer.replace(theirs, nobodys) for answer in answers] == ask(nobodys), kind
        assert all(answer.startswith("refused: ") for answer in answers[:3]), (kind, answers)


# ---- 3, 4: odd and huge texts ----------------------------------------------------------------------------------------
ODD = {
    "a Cyrillic а": "tag:\u0430cme", "a Greek ο": "gr\u03bfup:ops", "a full-width letter": "\uff47ate", "a dotless i": "pr\u0131nter",
    "no width": "pri\u200bnter", "joined": "pri\u200dnter", "turned": "\u202eretnirp", "isolated": "\u2066printer", "a soft hyphen": "prin\u00adter",
    "a combining accent": "printe\u0301r", "a mathematical letter": "\U0001d429rinter", "a mark of order": "\ufeffprinter", "a zero": "printer\x00",
    "a bell": "printer\x07", "a line separator": "printer\u2028", "a no-break space": "\u00a0printer", "half a pair": "printer\ud800",
    "a full-width digit": "100.64.0.\uff11", "an e-mail address of another script": "b\u0435a@bolt.example", "a delete": "printer\x7f",
    "a private sign": "printer\ue000", "a next line": "printer\x85", "a tag sign": "printer\U000e0061", "a double hyphen like": "tag:bolt\u2010\u2010db",
}  # fmt: skip


def test_signs_that_look_like_others_or_like_nothing_are_refused_where_they_stand():
    for odd, name in ODD.items():
        for field in FIELDS:
            for written in {name, json.dumps(name)[1:-1]}:
                text, place = text_of(field, written)
                (fault, *_) = faults(read, text)
                assert fault.place.line == place.line, (odd, field, fault)
                assert place.column <= fault.place.column <= place.column + len(written) + 1, (odd, field, fault)


def test_what_is_too_long_or_too_deep_is_refused_at_the_door(shore):
    program = program_of(shore.tenants["acme"])

    def put(text: str) -> Any:
        return program.call("PUT", "tenants/acme/policy", {"text": text}, **{"If-Match": '"1"'})

    for text in ("/" * 250_001, "x" * 3_000_000, "\U0001f600" * 240_000):
        assert said(put(text)) == (400, "malformed-request")
    for text in (
        "[" * 250_000,
        '{"acls":' * 31_000,
        '{"acls": [' * 25_000,
        '{"grants": [{"src": ["*"], "app": {"a.test/x": ' + "[" * 200_000,
    ):
        answer = put(text)
        assert (said(answer), len(answer.json()["faults"])) == ((422, "policy-refused"), 1)
        assert len(answer.content) < 1000
    for body in (b"[" * 1_900_000, b'{"text":' * 230_000):
        headers = {"Authorization": f"Bearer {program.secret}", "If-Match": '"1"'}
        answer = Client().put("/api/v1/tenants/acme/policy", body, "application/json", headers=headers)
        assert said(answer) == (400, "malformed-request")


def test_a_text_that_would_fill_the_document_of_its_cluster_is_refused(shore):
    """A server takes four megabytes for all of its tenants: nobody's words are spelt out until nothing fits beside them."""
    rules = [rule("group:all", f"group:all:{port}") for port in range(1, 2001)]
    text = document(f'"groups": {{"group:all": ["lap-007", "exit-007"]}}, "acls": {json.dumps(rules)}')
    program = program_of(shore.tenants["acme"])
    refusal = program.call("PUT", "tenants/acme/policy", {"text": text}, **{"If-Match": '"1"'})
    assert said(refusal) == (422, "policy-not-proven")
    assert "500000" in refusal.json()["detail"]
    assert (
        program.post("tenants/acme/policy/validate", {"text": text.replace("2000", "1999").replace("lap-007", "exit-007")}).status_code
        == 200
    )


def test_thousands_of_tests_of_a_hundred_devices_are_tried_in_time_to_answer():
    """Device by device it would be ten million questions, and a worker busy for minutes."""
    there = [networks.device(f"d{number}", *(["web"] if number % 2 else [])) for number in range(100)]
    tests = [{"src": "autogroup:member", "deny": [f"tag:web:{20 * number + port}" for port in range(1, 21)]} for number in range(300)]
    text = json.dumps({"tagOwners": {"tag:web": []}, "acls": [rule("tag:web", "d0:22")], "tests": tests})
    tried = trials.attempt(networks.reach(networks.tenant(text, there)))
    assert (tried.passed, tried.failed, tried.unproven) == (6000, (), ())


# ---- 10: two editors -------------------------------------------------------------------------------------------------
def test_of_two_editors_the_second_is_told_and_nothing_is_merged(shore):
    editors = [program_of(shore.tenants["acme"]) for _ in range(2)]
    texts = [document(f'"acls": [{{"action": "accept", "src": ["*"], "dst": ["tag:exit:{port}"]}}]') for port in (22, 443)]
    seen = [editor.get("tenants/acme/policy")["ETag"] for editor in editors]
    first, second = (
        editor.call("PUT", "tenants/acme/policy", {"text": text}, **{"If-Match": tag})
        for editor, text, tag in zip(editors, texts, seen, strict=True)
    )
    assert (first.status_code, said(second), second.json()["current_version"]) == (200, (412, "stale-version"), 2)
    assert editors[1].get("tenants/acme/policy").json()["text"] == texts[0]
    assert said(editors[1].post("tenants/acme/policy/rollback", {"expected": 1})) == (409, "stale-version")
    again = editors[1].call("PUT", "tenants/acme/policy", {"text": texts[1]}, **{"If-Match": '"2"'})
    assert (again.status_code, again["ETag"], again.json()["text"]) == (200, '"3"', texts[1])
    shore.push()
    assert '"443"' in shore.admin.policy().document
    assert '"22"' not in shore.admin.policy().document


# ---- 12: documents that nobody else waits for ------------------------------------------------------------------------
def test_neither_failing_tests_nor_a_text_that_cannot_be_used_keeps_others_from_theirs(shore):
    shore.write("bolt", acls=[rule("printer", "gate:22")])
    shore.push()
    shore.write("bolt", acls=[], tests=[{"src": "printer", "accept": ["gate:22"]}])
    shore.write("crow", nonsense=[])
    text = document('"acls": [{"action": "accept", "src": ["*"], "dst": ["tag:exit:443"]}]')
    storing.store(shore.tenants["acme"], text, expected=1, actor="system:tests", now=timezone.now())
    done = shore.push()
    assert done.versions == {"acme": 2, "bolt": 2}
    policies = {policy.tenant.account: policy for policy in NetworkPolicy.objects.across_tenants().select_related("tenant", "running")}
    assert {account: (policy.running.number if policy.running else 0, bool(policy.trouble)) for account, policy in policies.items()} == {
        "acme": (2, False), "bolt": (2, True), "crow": (0, True),
    }  # fmt: skip
    assert "acme" not in policies["bolt"].trouble + policies["crow"].trouble
    document_of_all = shore.admin.policy().document
    assert ('"443"' in document_of_all, '"22"' in document_of_all) == (True, True)


@pytest.mark.parametrize("service", ["0-0", "tcp:0-0", "132:0-0"])
def test_no_service_is_agreed_on_that_the_server_would_refuse_for_all_of_its_tenants(shore, service):
    bolt, told = shore.tenants["bolt"], {"actor": "system:tests", "now": timezone.now()}
    with suppress(MalformedRequest):
        peerings.accept(peerings.offer(bolt, "crow", dst=["*"], services=[service], **told), ["*"], **told)
    shore.push()
    text, place = unmarked(document(f'"grants": [{{"src": ["*"], "dst": ["*"], "ip": [¶"{service}"]}}]'))
    assert [at for at, _ in answer(shore.fact.tenant("acme"), text)] == [place]
