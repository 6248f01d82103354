"""Attacks by one tenant's policy on the others of its server: whatever its words are, they mean its own or nothing, and tell nothing of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from placement.models import ClusterPolicy, Device, PolicyPush
from placement.policies import peerings, resolving, storing
from placement.policies.compiling import compile_cluster
from placement.policies.facts import TenantFact
from tenants.errors import MalformedRequest
from tenants.models import NetworkPolicy, PolicyVersion
from tenants.policies.document import PolicyRefused
from tenants.policies.reading import read
from tenants.policies.rules import GRANTABLE
from tests import factories
from tests.api.callers import Program, program_of, said
from tests.flows import attacked
from tests.flows.attacked import Home, Shore, apart, document, own_tokens, rule, tokens_of
from tests.tenants.policies.marks import faults, unmarked

pytestmark = pytest.mark.django_db
REAL = [pytest.mark.headscale, pytest.mark.tailscale]


@pytest.fixture(scope="module", params=["simulator", pytest.param("headscale", marks=REAL)])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Home]:
    if request.param == "headscale" and not (shutil.which("tailscaled") and shutil.which("tailscale")):
        pytest.skip("tailscale, tailscaled not on PATH")
    with attacked.home(tmp_path_factory.mktemp(request.param), request.param) as made:
        yield made


@pytest.fixture
def shore(home: Home, db: None) -> Iterator[Shore]:
    with attacked.shore(home) as made:
        made.write("bolt", groups={"group:ops": ["gate"]}, hosts={"safe": "10.2.0.9"}, tagOwners={"tag:db": []})
        yield made


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
MEANS_NOTHING = {"routed prefix", "part of a routed prefix", "public routed prefix", "routed address", "member"}  # the last as owner of a tag
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
    program, fact, seen, taken = program_of(shore.tenants["acme"]), shore.fact.tenant("acme"), set(), []
    for field in FIELDS:
        for kind, (theirs, nobodys) in names(shore).items():
            (text, place), (twin, _) = text_of(field, theirs), text_of(field, nobodys)
            told = answer(fact, text)
            assert [(at, why.replace(theirs, nobodys)) for at, why in told] == answer(fact, twin), (field, kind)
            assert all(at == place for at, _ in told), (field, kind, told)
            if not told:
                taken.append((field, kind, text, twin))
            elif kind not in seen:  # through the door, once each
                seen.add(kind)
                assert same(program, "PUT", "policy", (theirs, nobodys), text, twin) == 422, kind
    assert seen == set(names(shore))
    assert {kind for field, kind, *_ in taken if field not in OWN_BY_DEFINITION} == MEANS_NOTHING
    for field, kind, text, twin in taken:
        assert apart(shore.oracle(storing.world_of(shore.tenants["acme"], text).fact)), (field, kind)
        if kind in ("public routed prefix", "tag"):
            assert same(program, "POST", "policy/preview", names(shore)[kind], text, twin) == 200, (field, kind)


def same(program: Program, method: str, path: str, pair: tuple[str, str], text: str, twin: str) -> int:
    """The status of two answers that differ in nothing but the names."""
    one, other = (program.call(method, f"tenants/acme/{path}", {"text": each}, **{"If-Match": '"1"'}) for each in (text, twin))
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
    acme, bolt, told = shore.tenants["acme"], shore.tenants["bolt"], {"actor": "system:tests", "now": timezone.now()}
    offered, program = peerings.offer(bolt, "acme", dst=["gate"], services=["tcp:22"], **told), program_of(acme)

    def ask(name: str) -> list[str]:
        answers = [
            program.post("peerings", {"guest": "bolt", "dst": [name], "services": ["*"]}),
            program.post(f"peerings/{offered.pk}/accept", {"src": [name]}),
            program.get(f"tenants/acme/policy/explain?src={name}&dst=printer"),
            program.get(f"tenants/acme/policy/explain?src=printer&dst={name}"),
            program.call("PUT", f"tenants/acme/devices/{shore.device('lap').pk}/tags", {"tags": [name]}),
        ]
        return [f"{answer.status_code} {answer.content.decode()}" for answer in answers]

    for kind, (theirs, nobodys) in names(shore).items():
        answers = ask(theirs)
        assert [answer.replace(theirs, nobodys) for answer in answers] == ask(nobodys), kind
        assert {answer[:3] for answer in (*answers[:2], answers[4])} == {"400"}, (kind, answers)


# ---- 2: the same names -----------------------------------------------------------------------------------------------
def test_of_two_devices_of_one_name_each_tenants_word_means_its_own(shore):
    assert (shore.device("vault").name, shore.device("lap").hostname) == ("printer", "printer")
    assert shore.device("lap").name != "printer", "the server gave it another one"
    shore.write("acme", acls=[rule("printer", "way-out:22")])
    shore.write("bolt", acls=[rule("printer", "gate:22")])
    for account in ("acme", "bolt"):
        storing.check(shore.tenants[account], NetworkPolicy.objects.of(shore.tenants[account]).get().current.text, timezone.now())
    renamed = document(f'"acls": [{{"action": "accept", "src": ["{shore.device("lap").name}"], "dst": ["*:*"]}}]')
    assert not answer(shore.fact.tenant("acme"), renamed)
    assert answer(shore.fact.tenant("bolt"), renamed.replace("tag:exit", "tag:db")), "who has the name first has no other one's by it"
    sights = shore.sights(shore.oracle())
    assert (sights["lap"], sights["vault"]) == ({"exit"}, {"gate"})
    shore.push()
    shore.agrees()


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
