"""Attacks by a tenant's policy, devices and routes on the other tenants of its server: neither sees, reaches or keeps back anything of another."""

from __future__ import annotations

import ipaddress
import json
import time
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from django.utils import timezone

from placement import policy
from placement.errors import ClusterError, ClusterRefused
from placement.models import Route
from placement.policies import peerings, storing
from tenants import lifecycle
from tenants.errors import WrongState
from tenants.models import NetworkPolicy
from tenants.policies.rules import GRANTABLE
from tests.flows.policy_attacks import attacked
from tests.flows.policy_attacks.attacked import EXIT, apart, document, owners, rule
from tests.flows.policy_attacks.test_policy_words import answer, text_of
from tests.servers import JoinRefused, machine

pytestmark = pytest.mark.django_db


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


# ---- 5: no rule at all -----------------------------------------------------------------------------------------------
def test_where_no_document_has_a_rule_nobody_reaches_anybody_whoever_comes_and_goes(shore, tmp_path):
    for account in attacked.ACCOUNTS:
        shore.write(account, acls=[])
    assert json.loads(shore.push().document.partition("\n")[2])["acls"] == [policy.LITERAL_RULE]
    nobody = {short: set() for short in shore.home.machines}
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
    assert shore.agrees()["relic"] == {"till", "vault"}, "exit nodes are never shared"
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
    shore.push()
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
