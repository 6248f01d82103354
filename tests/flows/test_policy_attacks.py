"""Attacks by one tenant's policy on the others of its server: whatever its words are, they mean its own or nothing, and tell nothing of others."""

from __future__ import annotations

import ipaddress
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from placement import policy
from placement.errors import ClusterError, ClusterRefused
from placement.models import Route
from placement.policies import explaining, peerings, resolving, storing
from placement.policies.facts import TenantFact
from tenants import lifecycle, tags
from tenants.errors import MalformedRequest, WrongState
from tenants.models import NetworkPolicy
from tenants.policies.document import PolicyRefused
from tenants.policies.reading import read
from tenants.policies.rules import GRANTABLE
from tests import factories
from tests.api.callers import Program, program_of, said
from tests.flows import attacked
from tests.flows.attacked import EXIT, Home, Shore, apart, document, owners, rule
from tests.servers import JoinRefused, machine
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
                assert same(program, "PUT", "policy", (theirs, nobodys), text, twin) == 422, kind
            seen.add(kind)
    assert seen == pairs.keys()
    assert {kind for field, kind, *_ in taken if field not in OWN_BY_DEFINITION} == MEANS_NOTHING
    for field, kind, text, twin in taken:
        if field in OWN_BY_DEFINITION and kind not in ("tag", "group", "device"):
            continue
        assert apart(shore.oracle(storing.world_of(shore.tenants["acme"], text))), (field, kind)
        if kind in ("public routed prefix", "tag"):
            assert same(program, "POST", "policy/preview", pairs[kind], text, twin) == 200, (field, kind)


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


# ---- 5: no rule at all -----------------------------------------------------------------------------------------------
def test_where_no_document_has_a_rule_nobody_reaches_anybody_whoever_comes_and_goes(shore, tmp_path):
    for account in attacked.ACCOUNTS:
        shore.write(account, acls=[])
    assert json.loads(shore.push().document.partition("\n")[2])["acls"] == [policy.LITERAL_RULE]
    nobody = dict.fromkeys(shore.home.machines, set())
    assert shore.agrees() == nobody
    for number, words in enumerate(((), ("exit",))):
        with machine(shore.home.server, tmp_path / str(number)) as late:
            late.join(shore.home.key("acme", *words), f"late-{number}")
            shore.observe()
            shore.push()
            time.sleep(0.3 if shore.home.server.is_real else 0)
            assert (late.peers(), shore.seen()) == ({}, nobody)
            assert [at.filter() for at in (late, *shore.home.machines.values())] == [[]] * (len(nobody) + 1)
            late.leave()
        shore.remove(f"late-{number}")
        assert shore.seen() == nobody


# ---- 6: tags that a device gives itself ------------------------------------------------------------------------------
@pytest.mark.parametrize("tag", ["tag:acme--exit", "tag:bolt--db"])
def test_a_device_gives_itself_no_tag_with_a_key_or_without(shore, tmp_path, tag):
    shore.push()
    before = len(shore.admin.nodes())
    with machine(shore.home.server, tmp_path / "sly") as sly:
        for words in ((), ("exit",)):
            with pytest.raises(JoinRefused, match="invalid or not permitted"):
                sly.join(shore.home.key("acme", *words), "sly", tags=[tag])
        waiting = sly.ask("sly", tags=[tag])
        with pytest.raises(ClusterRefused, match="invalid or not permitted"):
            shore.admin.register("acme", waiting)
    assert len(shore.admin.nodes()) == before


# ---- 7: devices of a closed tenant -----------------------------------------------------------------------------------
def test_stale_devices_of_a_closed_tenant_see_nobody_and_nobody_sees_them(shore):
    crow, told = shore.tenants["crow"], {"actor": "system:tests", "now": timezone.now()}
    for account in ("acme", "bolt"):
        shore.write(account, acls=[rule("*", "*:*")])
    peerings.accept(peerings.offer(shore.tenants["bolt"], "crow", dst=["*"], services=["*"], **told), ["*"], **told)
    shore.push()
    assert shore.agrees()["relic"] == {"till", "vault", "gate"}
    lifecycle.close(crow, **told)
    shore.push()
    seen = shore.agrees()
    assert (seen["relic"], seen["till"], seen["vault"], seen["lap"]) == (set(), set(), {"gate"}, {"exit"})
    crow.refresh_from_db()
    with pytest.raises(WrongState):
        storing.check(crow, '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}', timezone.now())


# ---- 8: shells -------------------------------------------------------------------------------------------------------
def test_a_shell_as_root_is_opened_on_ones_own_devices_alone(shore):
    fact, gate = shore.fact.tenant("acme"), shore.device("gate")
    words = (
        "*",
        "bolt@",
        "acme@",
        "tag:bolt--db",
        "tag:db",
        "gate",
        "gate-007",
        gate.ipv4,
        "10.2.0.9",
        "autogroup:internet",
        "autogroup:danger-all",
    )
    for word in words:
        for field in ("a shell's destination", "a shell's source"):
            text, place = text_of(field, word)
            assert [at for at, _ in answer(fact, text)] == [place], (field, word)
    for account in ("acme", "bolt"):
        shells = [("autogroup:member", to) for to in ("autogroup:self", "autogroup:member", "autogroup:tagged")]
        shells.append(("autogroup:tagged", "autogroup:tagged"))
        shore.write(account, ssh=[{**rule(*each), "dst": [each[1]], "users": ["root", "autogroup:nonroot"]} for each in shells])
    document = shore.push().document
    assert owners(shore, document, "ssh") == {frozenset({"acme"}), frozenset({"bolt"})}


# ---- 9: routes and exit nodes ----------------------------------------------------------------------------------------
def test_no_policy_approves_the_internet_as_a_route_or_what_another_tenant_routes(shore):
    for prefix in ("0.0.0.0/0", "::/0", "0.0.0.0/1", "100.64.0.0/10"):
        text, place = text_of("an approved prefix", prefix)
        assert [at for at, _ in answer(shore.fact.tenant("acme"), text)] == [place], prefix
    shore.write("acme", autoApprovers={"routes": {"10.0.0.0/8": ["tag:exit"], "8.0.0.0/7": ["tag:exit"]}, "exitNode": ["tag:exit"]})
    shore.look()
    rows = {route.prefix: route for route in Route.objects.of(shore.tenants["acme"])}
    assert {prefix: row.state for prefix, row in rows.items()} == {
        "10.2.3.0/24": "waiting", "10.9.0.0/16": "approved", "0.0.0.0/1": "refused", "0.0.0.0/0": "approved", "::/0": "approved",
    }  # fmt: skip
    assert not any(word in rows["10.2.3.0/24"].reason for word in ("bolt", "gate", "10.2.0.0/16"))
    assert set(shore.admin.node(shore.device("exit").node_id).approved_routes) == {"10.9.0.0/16", *EXIT}
    assert Route.objects.of(shore.tenants["bolt"]).filter(state="approved").count() == len(attacked.ROUTED)


def through(dst: str) -> dict[str, Any]:
    return {"grants": [{"src": ["*"], "dst": [dst], "ip": ["*"], "via": ["tag:exit"]}]}


EXITS: dict[str, dict[str, Any]] = {
    "by default": {},
    "anything": {"acls": [rule("*", "*:*")]},
    "the internet": {"acls": [rule("*", "autogroup:internet:*")]},
    "the internet, way by way": {"acls": [rule("*", f"{half}:*") for half in ("0.0.0.0/1", "128.0.0.0/1", "2000::/3", "::/1", "8000::/1")]},
    "all that nobody needs": {
        "acls": [rule("*", f"{one}:*") for one in ("autogroup:internet", "192.0.2.0/24", "2001:db8::/32", "10.0.0.0/8")]
    },
    "a public prefix that another tenant routes": {"acls": [rule("*", "81.2.69.0/24:*"), rule("81.2.69.0/24", "*:*")]},
    "its own exit node": through("autogroup:internet"),
    "its own exit node to a public prefix": through("81.2.69.0/24"),
    "its own exit node to anything": through("*"),
}


@pytest.mark.parametrize("case", EXITS)
def test_exit_nodes_and_public_routes_of_others_are_neither_seen_nor_used(shore, case):
    """Both tenants say the same: one has an exit node that routes a public prefix as well, the other one an exit node."""
    shore.route("exit", *EXIT)
    shore.write("acme", **EXITS[case])
    theirs = json.loads(json.dumps(EXITS[case]).replace("tag:exit", "tag:gate"))
    shore.write("bolt", **({"tagOwners": {"tag:gate": []}} if "grants" in theirs else {}), **theirs)
    oracle = shore.oracle()
    assert apart(oracle)
    lap, vault = (next(node for node in oracle.nodes if node.device.name == shore.device(name).name) for name in ("lap", "vault"))
    beyond, routed = ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("81.2.69.7")
    assert oracle.reaches(lap, beyond, "tcp", 443) == ("public prefix" not in case), "its own exit node serves"
    assert oracle.reaches(lap, routed, "tcp", 443) == (case in ("its own exit node", "its own exit node to anything"))
    if case in ("by default", "anything", "a public prefix that another tenant routes"):
        assert oracle.reaches(vault, routed, "tcp", 443)
    shore.push()
    shore.agrees()
    assert not any("81.2.69.0/24" in routes for routes in shore.home.machines["lap"].peers().values())


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


# ---- 11: a device that is handed over --------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["fleet", "alone"])
def test_a_tagged_device_that_another_tenant_lets_in_again_is_taken_from_it(request, home, db, tmp_path, where):
    plan = {"desk": ("bolt", "desk", "", ()), "pos": ("acme", "pos", "exit", ())}
    with ExitStack() as stack:
        program = "headscale" if home.server.is_real else "simulator"
        at = home if where == "fleet" else stack.enter_context(attacked.home(tmp_path, program, where, plan=plan))
        shore = stack.enter_context(attacked.shore(at))
        pos = at.machines.get("pos") or stack.enter_context(machine(at.server, tmp_path / "pos"))
        if where == "fleet":
            pos.join(at.key("acme", "exit"), "pos")
            shore.observe()
        shore.push()
        assert shore.audit() == []
        node = next(node for node in shore.admin.nodes() if node.hostname == "pos")
        if pos.client:
            pos.leave()
        waiting = pos.ask("pos")
        with suppress(ClusterError):
            shore.admin.register("bolt", waiting)
        if where == "fleet":
            [(user, words)] = at.server.rows(f"select user_id, tags from headscale.nodes where id = {node.id}")
            assert (user, words) == (None, '["tag:acme--exit"]'), "the database refuses it"
        assert shore.audit() == [("owner", f"node {node.id}")]
        healed = shore.admin.node(node.id)
        assert (healed.tags, healed.user_name) == (("tag:acme--exit",), "tagged-devices")
        assert healed.expiry <= timezone.now()
        assert shore.audit() == []
        others = [other for short, other in at.machines.items() if short not in ("lap", "exit", "pos")]
        attacked.becomes(lambda: [other for other in others if "pos" in other.peers()], [])
        shore.remove("pos")


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


# ---- 13: capabilities and attributes ---------------------------------------------------------------------------------
def test_capabilities_and_attributes_stay_within_their_tenant(shore):
    shore.route("exit", *EXIT)
    names = sorted({*GRANTABLE, "acme.example/cap/x", "tailscale.example/cap/file-sharing"})
    grants = [
        {"src": ["*"], "dst": [to], "app": {name: [{"shares": ["*"], "access": "rw"}]}}
        for name in names
        for to in ("*", "printer", "10.2.0.0/16")
    ]
    grants += [{"src": ["10.2.0.0/16", "81.2.69.0/24"], "dst": ["*"], "app": {names[0]: []}}]
    attributes = ["drive:share", "drive:access", "randomize-client-port", "magicdns-aaaa", "disable-captive-portal-detection", "https"]
    targets = ["*", "autogroup:tagged", "10.2.0.0/16", "printer"]
    shore.write("acme", grants=grants, nodeAttrs=[{"target": [target], "attr": attributes} for target in targets])
    done = shore.push()
    assert owners(shore, done.document, "grants", having="app") == {frozenset({"acme"})}
    assert owners(shore, done.document, "nodeAttrs") == {frozenset({"acme"})}
    assert apart(shore.oracle())
    shore.agrees()
    for short in ("vault", "gate", "relic"):
        assert not any("CapGrant" in entry and entry["CapGrant"] for entry in shore.home.machines[short].filter()), short
